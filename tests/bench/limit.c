/* What httpd itself costs: a content handler in C that answers 13 bytes, alone ("limit") and with one
 * round trip on a persistent unix socket per thread ("limit-rt"). The floor for any module. */

#include "httpd.h"
#include "http_config.h"
#include "http_protocol.h"
#include "http_request.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static __thread int peer = -1;

static int round_trip(void)
{
    char message[1200], answer[128];

    if (peer < 0) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const char *path = getenv("LIMIT_SOCKET");
        if (!path || strlen(path) >= sizeof(address.sun_path))
            return -1;
        strcpy(address.sun_path, path);
        peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (peer < 0 || connect(peer, (struct sockaddr *)&address, sizeof(address)) != 0)
            return -1;
    }
    memset(message, 'x', sizeof(message));
    if (send(peer, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
        return -1;
    return recv(peer, answer, sizeof(answer), 0) > 0 ? 0 : -1;
}

static int handler(request_rec *r)
{
    int with_trip = r->handler && !strcmp(r->handler, "limit-rt");

    if (!r->handler || (!with_trip && strcmp(r->handler, "limit")))
        return DECLINED;
    if (with_trip && round_trip() != 0)
        return HTTP_INTERNAL_SERVER_ERROR;
    ap_set_content_type(r, "text/plain");
    ap_set_content_length(r, 13);
    ap_rputs("Hello, World!", r);
    ap_rflush(r);
    return OK;
}

static void register_hooks(apr_pool_t *pool)
{
    ap_hook_handler(handler, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(limit) = { STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, register_hooks };
