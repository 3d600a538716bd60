/* Shared by the files of the store. */
#ifndef PLMM_STORE_INTERNAL_H
#define PLMM_STORE_INTERNAL_H

#include "plmm/db.h"
#include "plmm/store.h"

struct plmm_store {
    plmm_db *db;
};

/* Notes the last verified link of an expert's registrar. */
PLMM_NODISCARD plmm_status plmm__store_link_put(plmm_store *s, const char *expert,
                                                const plmm_link *link, plmm_error *err);

#endif
