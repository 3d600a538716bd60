/* plmm-sim report: the report and the table of a run that is over, drawn anew from its run.db. */
#include "program.h"

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/run_record.h"

#include <stdio.h>

plmm_status verb_report(plmm_cli_args *a, plmm_error *err)
{
    char path[PLMM_PATH_MAX];
    plmm_run *run = NULL;
    PLMM_TRY(plmm_path_join(path, sizeof path, a->operands[0], "run.db", err));
    PLMM_TRY(plmm_run_read_db(&run, path, err));
    plmm_status rc = plmm_path_join(path, sizeof path, a->operands[0], "report.html", err);
    rc = rc != PLMM_OK ? rc : plmm_run_write_report(run, path, err);
    char *table = rc == PLMM_OK ? plmm_run_table(run) : NULL;
    if (table != NULL) {
        (void)printf("%s\nreport: %s\n", table, path);
    }
    plmm_free(table);
    plmm_run_free(run);
    return rc;
}
