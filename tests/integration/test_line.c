/* A connection that asks (plmm/line.h) against a server that breaks every connection in the middle
 * of a long request, many times, and then answers: each break is told, the next request gets
 * through, and closing ends. Sockets of nng before 1.9 are lost for good in this. */
#include "plmm/clock.h"
#include "plmm/line.h"
#include "test.h"

#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BREAKS = 40, LONG = 4 << 20, REQUEST = 8, ANSWER = 5 };

typedef struct server {
    int fd;
    _Atomic uint32_t breaks;
} server;

static bool read_all(int fd, uint8_t *out, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, out + got, len - got);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

/* The first part of a message of nng's TCP mapping: its length. 0 if the peer went. */
static uint64_t begin_message(int fd)
{
    static const uint8_t hello[8] = {0, 'S', 'P', 0, 0, 49, 0, 0}; /* rep */
    uint8_t theirs[8], head[8];
    uint64_t len = 0;
    if (write(fd, hello, sizeof hello) != sizeof hello || !read_all(fd, theirs, sizeof theirs) ||
        !read_all(fd, head, sizeof head)) {
        return 0;
    }
    for (int i = 0; i < 8; i++) {
        len = len << 8 | head[i];
    }
    return len;
}

static void *serve(void *arg)
{
    server *s = arg;
    uint8_t body[64];
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        uint64_t len = begin_message(fd);
        if (len > sizeof body) {
            struct linger hard = {.l_onoff = 1}; /* closing resets the connection */
            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
            s->breaks++;
        } else if (len >= 4 && read_all(fd, body, len)) {
            uint8_t answer[8 + 4 + ANSWER] = {0, 0, 0, 0, 0, 0, 0, 4 + ANSWER};
            memcpy(answer + 8, body, 4); /* the request's number */
            memcpy(answer + 12, "heard", ANSWER);
            CHECK(write(fd, answer, sizeof answer) == sizeof answer, "answer");
            (void)read_all(fd, body, 1); /* until it goes */
        }
        (void)close(fd);
    }
}

static uint32_t listen_on(server *s)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&at, sizeof at) == 0 &&
              listen(s->fd, 8) == 0 && getsockname(s->fd, (struct sockaddr *)&at, &len) == 0,
          "listen");
    return ntohs(at.sin_port);
}

/* The end of what was asked: a reply, or lost. NEW is passed over; TIMEOUT after 20 s. */
static plmm_line_news outcome(plmm_line *l)
{
    uint64_t until = plmm_clock_ms() + 20000;
    plmm_line_news news = PLMM_LINE_TIMEOUT;
    do {
        news = plmm_line_wait(l, 1000);
    } while (plmm_clock_ms() < until && news != PLMM_LINE_REPLY && news != PLMM_LINE_LOST);
    return news;
}

int main(void)
{
    static uint8_t huge[LONG];
    server s = {0};
    pthread_t thread;
    char url[64];
    plmm_error err = {0};
    plmm_line *l = NULL;
    (void)alarm(100);
    (void)snprintf(url, sizeof url, "tcp://127.0.0.1:%u", listen_on(&s));
    CHECK(pthread_create(&thread, NULL, serve, &s) == 0, "thread");
    CHECK(plmm_line_open(&l, url, 1 << 20, &err) == PLMM_OK, "%s", err.msg);
    for (int i = 0; i < BREAKS; i++) {
        CHECK(plmm_line_ask(l, huge, sizeof huge, NULL, 0, &err) == PLMM_OK, "%s", err.msg);
        CHECK(outcome(l) == PLMM_LINE_LOST, "break %d is told", i);
    }
    CHECK(s.breaks == BREAKS, "%u requests of %d came to the server", s.breaks, BREAKS);
    const uint8_t *bytes = NULL;
    size_t len = 0;
    CHECK(plmm_line_ask(l, (const uint8_t *)"anybody?", REQUEST, NULL, 0, &err) == PLMM_OK &&
              outcome(l) == PLMM_LINE_REPLY,
          "a request after them is answered: %s", err.msg);
    plmm_line_reply(l, &bytes, &len);
    CHECK(len == ANSWER && memcmp(bytes, "heard", ANSWER) == 0, "%zu octets", len);
    plmm_line_close(l);
    (void)shutdown(s.fd, SHUT_RDWR);
    (void)close(s.fd);
    (void)pthread_join(thread, NULL);
    return plmm_test_end();
}
