/* The other end of "limit-rt": a thread per connection that answers each message with 77 bytes. */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void *serve(void *arg)
{
    int fd = (int)(long)arg;
    char message[4096], answer[77];

    memset(answer, 'y', sizeof(answer));
    while (recv(fd, message, sizeof(message), 0) > 0)
        if (send(fd, answer, sizeof(answer), MSG_NOSIGNAL) < 0)
            break;
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 100))
        return 1;
    chmod(argv[1], 0777);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0)
            return 1;
        if (pthread_create(&thread, NULL, serve, (void *)(long)fd))
            return 1;
        pthread_detach(thread);
    }
}
