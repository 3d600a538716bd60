/* plmm-aggregator status and export. */
#include "node.h"

#include "plmm/clock.h"

#include <stdio.h>
#include <string.h>

static const char *state_name(plmm_node_state s)
{
    return s == PLMM_NODE_RUNNING ? "running" : s == PLMM_NODE_PUBLISHED ? "published" : "aborted";
}

/* ---- one JSON object ---- */

static void put_u64(plmm_json_writer *w, const char *key, uint64_t v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_u64(w, v);
}

static void put_text(plmm_json_writer *w, const char *key, const char *v)
{
    plmm_json_put_key(w, key);
    plmm_json_put_text(w, v);
}

static plmm_status json_round(void *ctx, const plmm_node_round *r, plmm_error *err)
{
    plmm_json_writer *w = ctx;
    (void)err;
    plmm_json_open_object(w);
    put_u64(w, "round", r->round);
    put_u64(w, "attempt", r->attempt);
    put_text(w, "state", state_name(r->state));
    put_u64(w, "roster", r->roster);
    put_u64(w, "survivors", r->survivors);
    put_u64(w, "liars", r->liars);
    put_u64(w, "version", r->version);
    plmm_json_put_key(w, "begun_ms");
    plmm_json_put_int(w, r->begun_ms);
    plmm_json_put_key(w, "ended_ms");
    plmm_json_put_int(w, r->ended_ms);
    put_u64(w, "bytes_up", r->bytes_up);
    put_u64(w, "bytes_down", r->bytes_down);
    put_text(w, "why", r->text);
    plmm_json_close_object(w);
    return PLMM_OK;
}

static plmm_status json_version(void *ctx, const plmm_node_version *v, plmm_error *err)
{
    plmm_json_writer *w = ctx;
    char hex[65];
    (void)err;
    plmm_hex_write(hex, v->manifest.b, sizeof v->manifest.b);
    plmm_json_open_object(w);
    put_u64(w, "version", v->version);
    put_u64(w, "round", v->round);
    put_u64(w, "survivors", v->survivors);
    put_u64(w, "bytes", v->bytes);
    put_text(w, "manifest", hex);
    plmm_json_close_object(w);
    return PLMM_OK;
}

static plmm_status status_json(node *n, uint32_t rows, plmm_error *err)
{
    plmm_json_writer w;
    uint64_t enrolled, revoked, version;
    PLMM_TRY(plmm_node_device_count(n->store, &enrolled, &revoked, err));
    PLMM_TRY(plmm_version_current(&n->versions, &version, err));
    plmm_json_begin(&w, PLMM_JSON_LINES, plmm_cli_put, NULL);
    plmm_json_open_object(&w);
    put_text(&w, "expert", n->config.expert);
    put_text(&w, "address", n->config.address);
    put_u64(&w, "devices", enrolled);
    put_u64(&w, "revoked", revoked);
    put_u64(&w, "version", version);
    plmm_json_put_key(&w, "rounds");
    plmm_json_open_array(&w);
    plmm_status rc = plmm_node_rounds(n->store, rows, json_round, &w, err);
    plmm_json_close_array(&w);
    plmm_json_put_key(&w, "versions");
    plmm_json_open_array(&w);
    rc = rc == PLMM_OK ? plmm_node_versions(n->store, rows, json_version, &w, err) : rc;
    plmm_json_close_array(&w);
    plmm_json_close_object(&w);
    plmm_status written = plmm_json_end(&w, err);
    return rc == PLMM_OK ? written : rc;
}

/* ---- for people ---- */

static plmm_status print_round(void *ctx, const plmm_node_round *r, plmm_error *err)
{
    (void)ctx;
    (void)err;
    double seconds = r->state == PLMM_NODE_RUNNING
                         ? (double)(plmm_clock_wall_ms() - r->begun_ms) / 1000
                         : (double)(r->ended_ms - r->begun_ms) / 1000;
    (void)printf("%6llu %7u  %-9s %6u %9u %8.1f %10llu %10llu  %s\n", (unsigned long long)r->round,
                 r->attempt, state_name(r->state), r->roster, r->survivors, seconds,
                 (unsigned long long)r->bytes_up, (unsigned long long)r->bytes_down, r->text);
    return PLMM_OK;
}

static plmm_status print_version(void *ctx, const plmm_node_version *v, plmm_error *err)
{
    char when[PLMM_CLOCK_ISO_BYTES], hex[17];
    (void)ctx;
    (void)err;
    plmm_clock_iso(v->time_ms, when);
    plmm_hex_write(hex, v->manifest.b, 8);
    (void)printf("%7llu %6llu %9u %10llu  %.19s  %s\n", (unsigned long long)v->version,
                 (unsigned long long)v->round, v->survivors, (unsigned long long)v->bytes, when,
                 hex);
    return PLMM_OK;
}

static plmm_status status_text(node *n, uint32_t rows, plmm_error *err)
{
    uint64_t enrolled, revoked, version;
    PLMM_TRY(plmm_node_device_count(n->store, &enrolled, &revoked, err));
    PLMM_TRY(plmm_version_current(&n->versions, &version, err));
    (void)printf("expert %s at %s, version %llu, %llu devices enrolled (%llu revoked)\n\n",
                 n->config.expert, n->config.address, (unsigned long long)version,
                 (unsigned long long)enrolled, (unsigned long long)revoked);
    (void)printf(" round attempt  state     roster survivors  seconds   bytes up bytes down\n");
    PLMM_TRY(plmm_node_rounds(n->store, rows, print_round, NULL, err));
    (void)printf("\nversion  round survivors      bytes  published            manifest\n");
    return plmm_node_versions(n->store, rows, print_version, NULL, err);
}

plmm_status node_status(plmm_cli_args *a, plmm_error *err)
{
    node n;
    uint32_t rows = (uint32_t)plmm_cli_int(a, "rows");
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(node_open(&n, a->operands[0], a, err));
    plmm_status rc =
        plmm_cli_flag(a, "json") ? status_json(&n, rows, err) : status_text(&n, rows, err);
    node_close(&n);
    return rc;
}

/* ---- export ---- */

static plmm_status copy_file(const char *from_dir, const char *to_dir, const char *name,
                             plmm_error *err)
{
    char from[PLMM_PATH_MAX], to[PLMM_PATH_MAX];
    plmm_map map;
    PLMM_TRY(node_path(from_dir, name, from, err));
    PLMM_TRY(node_path(to_dir, name, to, err));
    PLMM_TRY(plmm_file_map(from, &map, err));
    plmm_status rc = plmm_file_write(to, map.data, map.len, PLMM_MODE_PUBLIC, err);
    plmm_file_unmap(&map);
    return rc;
}

static plmm_status export_version(const node *n, uint64_t version, const char *out, plmm_error *err)
{
    plmm_anchor anchor = {.aggregator = n->key, .registrar = n->registrar};
    plmm_manifest m;
    char dir[PLMM_PATH_MAX];
    memcpy(anchor.expert, n->config.expert, sizeof anchor.expert);
    if (version == 0) {
        PLMM_TRY(plmm_version_current(&n->versions, &version, err));
    }
    PLMM_TRY(plmm_version_verify(&n->versions, version, &anchor, &m, err));
    PLMM_TRY(plmm_version_path(&n->versions, version, dir, err));
    PLMM_TRY(plmm_dir_make(out, 0755, err));
    for (uint32_t i = 0; i < m.files_n; i++) {
        PLMM_TRY(copy_file(dir, out, m.files[i].name, err));
    }
    (void)printf("version %llu of %s in %s\n", (unsigned long long)version, n->config.expert, out);
    return PLMM_OK;
}

plmm_status node_export(plmm_cli_args *a, plmm_error *err)
{
    node n;
    const char *out = plmm_cli_text(a, "out");
    if (out == NULL) {
        return plmm_fail(err, PLMM_ERR_CONFIG, "--out DIR is needed");
    }
    PLMM_TRY(plmm_crypto_init(err));
    PLMM_TRY(node_open(&n, a->operands[0], a, err));
    plmm_status rc = export_version(&n, (uint64_t)plmm_cli_int(a, "version"), out, err);
    node_close(&n);
    return rc;
}
