/* See shim.h. Nothing here decides anything: each function is one macro of httpd or APR. */

#include "shim.h"

#include <http_log.h>
#include <http_protocol.h>
#include <ap_mmn.h>
#include <apr_hash.h>
#include <apr_optional.h>
#include <apr_optional_hooks.h>
#include <mod_status.h>
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 102)
#include <http_ssl.h>
#endif

APLOG_USE_MODULE(wsgi);

APR_DECLARE_OPTIONAL_FN(int, ssl_is_https, (conn_rec *));

void shim_log_server(const char *file, int line, int level, apr_status_t status,
                     const server_rec *server, const char *message)
{
    ap_log_error(file, line, APLOG_MODULE_INDEX, level, status, server, "%s", message);
}

void shim_log_connection(const char *file, int line, int level, apr_status_t status,
                         const conn_rec *connection, const char *message)
{
    ap_log_cerror(file, line, APLOG_MODULE_INDEX, level, status, connection, "%s", message);
}

void shim_log_request(const char *file, int line, int level, apr_status_t status,
                      const request_rec *request, const char *message)
{
    ap_log_rerror(file, line, APLOG_MODULE_INDEX, level, status, request, "%s", message);
}

void shim_log_startup(const char *file, int line, int level, apr_status_t status,
                      apr_pool_t *pool, const char *message)
{
    ap_log_perror(file, line, APLOG_MODULE_INDEX, level, status, pool, "%s", message);
}

int shim_server_logs(const server_rec *server, int level)
{
    return APLOG_MODULE_IS_LEVEL(server, APLOG_MODULE_INDEX, level);
}

int shim_server_log_level(const server_rec *server)
{
    return ap_get_server_module_loglevel(server, APLOG_MODULE_INDEX);
}

int shim_connection_logs(const conn_rec *connection, int level)
{
    return APLOG_C_MODULE_IS_LEVEL(connection, APLOG_MODULE_INDEX, level);
}

int shim_request_logs(const request_rec *request, int level)
{
    return APLOG_R_MODULE_IS_LEVEL(request, APLOG_MODULE_INDEX, level);
}

void shim_brigade_append(apr_bucket_brigade *brigade, apr_bucket *bucket)
{
    APR_BRIGADE_INSERT_TAIL(brigade, bucket);
}

apr_bucket *shim_brigade_first(apr_bucket_brigade *brigade)
{
    return APR_BRIGADE_EMPTY(brigade) ? NULL : APR_BRIGADE_FIRST(brigade);
}

apr_bucket *shim_bucket_next(apr_bucket_brigade *brigade, apr_bucket *bucket)
{
    apr_bucket *next = APR_BUCKET_NEXT(bucket);
    return next == APR_BRIGADE_SENTINEL(brigade) ? NULL : next;
}

int shim_bucket_is_eos(const apr_bucket *bucket)
{
    return APR_BUCKET_IS_EOS(bucket);
}

int shim_bucket_is_metadata(const apr_bucket *bucket)
{
    return APR_BUCKET_IS_METADATA(bucket);
}

int shim_bucket_is_error(const apr_bucket *bucket)
{
    return AP_BUCKET_IS_ERROR(bucket);
}

apr_status_t shim_bucket_read(apr_bucket *bucket, const char **data, apr_size_t *length,
                              apr_read_type_e block)
{
    return apr_bucket_read(bucket, data, length, block);
}

int shim_cgi_pass_auth(const request_rec *request)
{
    core_dir_config *core = ap_get_core_module_config(request->per_dir_config);
    return core->cgi_pass_auth == AP_CGI_PASS_AUTH_ON;
}

int shim_enable_sendfile(const request_rec *request)
{
    core_dir_config *core = ap_get_core_module_config(request->per_dir_config);
    if (core->enable_sendfile == ENABLE_SENDFILE_UNSET) {
        return -1;
    }
    return core->enable_sendfile == ENABLE_SENDFILE_ON;
}

int shim_qualify_redirect_url(const request_rec *request)
{
    core_dir_config *core = ap_get_core_module_config(request->per_dir_config);
    return core->qualify_redirect_url == AP_CORE_CONFIG_ON;
}

int shim_request_uri_is_current(const request_rec *request)
{
    core_dir_config *core = ap_get_core_module_config(request->per_dir_config);
    const char *rule;

    if (core->cgi_var_rules == NULL)
        return 0;
    rule = apr_hash_get(core->cgi_var_rules, "REQUEST_URI", APR_HASH_KEY_STRING);
    return rule != NULL && strcmp(rule, "current-uri") == 0;
}

int shim_is_https(conn_rec *connection)
{
    /* Looked up each time: a hash look-up, and no static that a restart could leave dangling. */
    APR_OPTIONAL_FN_TYPE(ssl_is_https) *ask = APR_RETRIEVE_OPTIONAL_FN(ssl_is_https);

    if (ask != NULL && ask(connection))
        return 1;
#if AP_MODULE_MAGIC_AT_LEAST(20120211, 102)
    return ap_ssl_conn_is_ssl(connection);
#else
    return 0;
#endif
}

void shim_hook_status(int (*write)(request_rec *request, int flags))
{
    APR_OPTIONAL_HOOK(ap, status_hook, write, NULL, NULL, APR_HOOK_MIDDLE);
}

const char *shim_http_scheme(const request_rec *request)
{
    return ap_http_scheme(request);
}

int shim_status_drops_connection(int status)
{
    return ap_status_drops_connection(status);
}
