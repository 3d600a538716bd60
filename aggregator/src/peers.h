/* peers.h -- who is connected: for each authenticated device the connection it came on, the request
 * it left open, and the messages that wait for it. One thread. */
#ifndef PEERS_H
#define PEERS_H

#include "plmm/status.h"

#define PLMM__NO_SLOT UINT32_MAX
enum { PLMM__MACHINES = 2 };

typedef struct plmm__peer {
    uint64_t device; /* 0: free place */
    uint32_t pipe;   /* 0: none */
    uint32_t slot;   /* request it left open, or PLMM__NO_SLOT */
    uint64_t until;  /* when that is answered at the latest */
    /* Bit m: message m of that machine is to be rendered for it. */
    uint64_t waiting[PLMM__MACHINES];
} plmm__peer;

typedef struct plmm__peers {
    plmm__peer *v; /* open addressing by device, cap a power of two */
    size_t cap, n;
    struct plmm__pipe_entry {
        uint32_t pipe;
        uint64_t device;
    } * pipes; /* open addressing by pipe; stale entries are dropped when it is rebuilt */
    size_t pipes_cap, pipes_n;
} plmm__peers; /* zero it to begin */

void plmm__peers_free(plmm__peers *p);

/* NULL if there is none. Pointers live until the next add. */
plmm__peer *plmm__peers_find(plmm__peers *p, uint64_t device);
plmm__peer *plmm__peers_by_pipe(plmm__peers *p, uint32_t pipe);

/* Finds or makes it. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__peers_add(plmm__peers *p, uint64_t device, plmm__peer **peer,
                                           plmm_error *err);

/* The device speaks on this connection from now on. PLMM_ERR_NOMEM. */
PLMM_NODISCARD plmm_status plmm__peers_bind(plmm__peers *p, plmm__peer *peer, uint32_t pipe,
                                            plmm_error *err);

#endif
