/* The parts of httpd's interface that exist only as macros, as functions Rust can call. */
#ifndef WSGI_SHIM_H
#define WSGI_SHIM_H

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <apr_buckets.h>

/* Logging. The message is always an argument, never a format. */
void shim_log_server(const char *file, int line, int level, apr_status_t status,
                     const server_rec *server, const char *message);
void shim_log_connection(const char *file, int line, int level, apr_status_t status,
                         const conn_rec *connection, const char *message);
void shim_log_request(const char *file, int line, int level, apr_status_t status,
                      const request_rec *request, const char *message);
void shim_log_startup(const char *file, int line, int level, apr_status_t status,
                      apr_pool_t *pool, const char *message);
int shim_server_logs(const server_rec *server, int level);
int shim_server_log_level(const server_rec *server);
int shim_connection_logs(const conn_rec *connection, int level);
int shim_request_logs(const request_rec *request, int level);

/* Brigades. */
void shim_brigade_append(apr_bucket_brigade *brigade, apr_bucket *bucket);
apr_bucket *shim_brigade_first(apr_bucket_brigade *brigade);
apr_bucket *shim_bucket_next(apr_bucket_brigade *brigade, apr_bucket *bucket);
int shim_bucket_is_eos(const apr_bucket *bucket);
int shim_bucket_is_metadata(const apr_bucket *bucket);
int shim_bucket_is_error(const apr_bucket *bucket);
apr_status_t shim_bucket_read(apr_bucket *bucket, const char **data, apr_size_t *length,
                              apr_read_type_e block);

/* The core module's directory settings. */
int shim_cgi_pass_auth(const request_rec *request);
int shim_enable_sendfile(const request_rec *request);
int shim_qualify_redirect_url(const request_rec *request);
int shim_request_uri_is_current(const request_rec *request);

/* Whether the connection is encrypted, asked of whichever module does the encrypting. */
int shim_is_https(conn_rec *connection);

/* Joins the hook by which mod_status lets others write to its page, if it is loaded. */
void shim_hook_status(int (*write)(request_rec *request, int flags));

/* Whether httpd closes the connection after a response with this status, its request unread. */
int shim_status_drops_connection(int status);

const char *shim_http_scheme(const request_rec *request);

#endif
