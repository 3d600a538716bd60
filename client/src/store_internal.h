/* Shared by the files of the store. */
#ifndef PLMM_STORE_INTERNAL_H
#define PLMM_STORE_INTERNAL_H

#include "plmm/db.h"
#include "plmm/store.h"

struct plmm_store {
    plmm_db *db;
};

#endif
