/* Shared by the files of the node's store. */
#ifndef PLMM_NODE_STORE_INTERNAL_H
#define PLMM_NODE_STORE_INTERNAL_H

#include "plmm/db.h"
#include "plmm/node_store.h"

struct plmm_node_store {
    plmm_db *db;
    bool open; /* between plmm_node_begin and plmm_node_end */
};

/* A transaction of one call: part of the open one, or its own. */
plmm_status plmm__node_enter(plmm_node_store *s, plmm_error *err);
plmm_status plmm__node_leave(plmm_node_store *s, plmm_status rc, plmm_error *err);

#endif
