/* libnbd from C: fills an export over several connections with many requests under way, reads it back and compares.
 *   client URI           write and compare
 *   client URI compare   compare only
 */
#include <inttypes.h>
#include <libnbd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS = 4, DEPTH = 64, BLOCK = 4096 };

struct slot { char *data; uint64_t offset; int busy; };
struct connection { struct nbd_handle *nbd; struct slot slots[DEPTH]; uint64_t next, end; };

static unsigned long writes, reads;

static void die(const char *what)
{
    const char *error = nbd_get_error();
    fprintf(stderr, "%s: %s\n", what, error ? error : "no error of libnbd");
    exit(1);
}

/* The content of a block: a word that depends on where it stands. */
static void fill(char *data, uint64_t offset)
{
    for (size_t i = 0; i < BLOCK / sizeof(uint64_t); i++) {
        uint64_t word = (offset + i) * UINT64_C(0x9e3779b97f4a7c15);
        memcpy(data + i * sizeof word, &word, sizeof word);
    }
}

static int written(void *user, int *error)
{
    struct slot *slot = user;
    if (*error) die("write");
    slot->busy = 0;
    writes++;
    return 1;
}

static int read_back(void *user, int *error)
{
    struct slot *slot = user;
    char expected[BLOCK];
    if (*error) die("read");
    fill(expected, slot->offset);
    if (memcmp(expected, slot->data, BLOCK) != 0) {
        fprintf(stderr, "the block at %" PRIu64 " differs\n", slot->offset);
        exit(2);
    }
    slot->busy = 0;
    reads++;
    return 1;
}

/* Starts requests in free slots. */
static void start(struct connection *c, int writing)
{
    for (int i = 0; i < DEPTH && c->next < c->end; i++) {
        struct slot *slot = &c->slots[i];
        if (slot->busy) continue;
        slot->offset = c->next;
        slot->busy = 1;
        c->next += BLOCK;
        nbd_completion_callback done = { .callback = writing ? written : read_back, .user_data = slot };
        if (writing) fill(slot->data, slot->offset);
        int64_t cookie = writing ? nbd_aio_pwrite(c->nbd, slot->data, BLOCK, slot->offset, done, 0)
                                 : nbd_aio_pread(c->nbd, slot->data, BLOCK, slot->offset, done, 0);
        if (cookie == -1) die("start");
    }
}

static int is_busy(const struct connection *c)
{
    if (c->next < c->end) return 1;
    for (int i = 0; i < DEPTH; i++)
        if (c->slots[i].busy) return 1;
    return 0;
}

static void pass(struct connection *all, uint64_t size, int writing)
{
    uint64_t share = size / CONNECTIONS;
    for (int i = 0; i < CONNECTIONS; i++) {
        all[i].next = i * share;
        all[i].end = (i + 1) * share;
    }
    for (;;) {
        struct pollfd fds[CONNECTIONS];
        int busy = 0;
        for (int i = 0; i < CONNECTIONS; i++) {
            start(&all[i], writing);
            busy |= is_busy(&all[i]);
            unsigned direction = nbd_aio_get_direction(all[i].nbd);
            fds[i].fd = nbd_aio_get_fd(all[i].nbd);
            fds[i].events = (direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0)
                          | (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0);
            fds[i].revents = 0;
        }
        if (!busy) return;
        if (poll(fds, CONNECTIONS, -1) == -1) die("poll");
        for (int i = 0; i < CONNECTIONS; i++) {
            unsigned direction = nbd_aio_get_direction(all[i].nbd);
            if ((direction & LIBNBD_AIO_DIRECTION_READ) && (fds[i].revents & (POLLIN | POLLHUP))) {
                if (nbd_aio_notify_read(all[i].nbd) == -1) die("receive");
            } else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) && (fds[i].revents & POLLOUT)) {
                if (nbd_aio_notify_write(all[i].nbd) == -1) die("send");
            }
        }
    }
}

int main(int argc, char **argv)
{
    static struct connection all[CONNECTIONS];
    if (argc < 2) return 64;
    for (int i = 0; i < CONNECTIONS; i++) {
        all[i].nbd = nbd_create();
        if (!all[i].nbd || nbd_connect_uri(all[i].nbd, argv[1]) == -1) die("connect");
        for (int j = 0; j < DEPTH; j++)
            if (!(all[i].slots[j].data = malloc(BLOCK))) die("malloc");
    }
    if (nbd_can_multi_conn(all[0].nbd) != 1) die("several connections are not offered");
    int64_t size = nbd_get_size(all[0].nbd);
    if (size <= 0) die("size");
    if (argc == 2) {
        pass(all, size, 1);
        if (nbd_flush(all[0].nbd, 0) == -1) die("flush");
    }
    pass(all, size, 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        if (nbd_shutdown(all[i].nbd, 0) == -1) die("shutdown");
        nbd_close(all[i].nbd);
    }
    printf("%lu writes, %lu reads, done\n", writes, reads);
    return 0;
}
