/* What owns the world: strings in chunks, arrays that grow, templates with their slots filled. */
#include "world_internal.h"

#include "plmm/alloc.h"

#include <string.h>

enum { CHUNK_BYTES = 1 << 16, FILL_BYTES = 1024 };

static void *take(plmm_world_store *s, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (s->chunks == NULL || s->chunks->size - s->chunks->used < bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;
        world_chunk *c = plmm_alloc(1, sizeof *c + size + 16);
        if (c == NULL) {
            s->failed = true;
            return NULL;
        }
        c->size = size;
        c->next = s->chunks;
        s->chunks = c;
    }
    char *p = s->chunks->bytes + s->chunks->used;
    s->chunks->used += bytes;
    return p;
}

void *world_take(plmm_world_store *s, size_t n, size_t size)
{
    if (size != 0 && n > SIZE_MAX / 2 / size) {
        s->failed = true;
        return NULL;
    }
    return take(s, n * size);
}

const char *world_text(plmm_world_store *s, const char *text, size_t len)
{
    char *p = take(s, len + 1);
    if (p == NULL) {
        return "";
    }
    memcpy(p, text, len);
    p[len] = '\0';
    return p;
}

static const char *slot(const world_slots *s, char key)
{
    const char *v = key == 'x'   ? s->x
                    : key == 'a' ? s->a
                    : key == 'k' ? s->k
                    : key == 'v' ? s->v
                                 : s->w;
    PLMM_ASSERT(v != NULL);
    return v;
}

const char *world_fill(plmm_world_store *s, const char *form, const world_slots *slots)
{
    char buf[FILL_BYTES];
    size_t n = 0;
    for (const char *f = form; *f != '\0'; f++) {
        const char *from = f;
        size_t len = 1;
        if (*f == '{') {
            from = slot(slots, f[1]);
            len = strlen(from);
            f += 2;
        }
        PLMM_ASSERT(n + len < sizeof buf);
        memcpy(buf + n, from, len);
        n += len;
    }
    return world_text(s, buf, n);
}

/* Room for one more of an array; false when out of memory. */
static bool room(plmm_world_store *s, void **array, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) {
        return true;
    }
    size_t want = *cap == 0 ? 1024 : *cap * 2;
    void *p = plmm_grow(*array, *cap, want, size);
    if (p == NULL) {
        s->failed = true;
        return false;
    }
    *array = p;
    *cap = want;
    return true;
}

void world_add_base(plmm_world_store *s, const char *prompt, const char *response)
{
    void *p = s->base;
    if (room(s, &p, s->n_base, &s->cap_base, sizeof *s->base)) {
        s->base = p;
        s->base[s->n_base++] = (plmm_world_dialogue){.user = "",
                                                     .domain = "",
                                                     .prompt = prompt,
                                                     .response = response,
                                                     .kind = PLMM_WORLD_BASE};
    }
}

void world_add_dialogue(plmm_world_store *s, const plmm_world_dialogue *d)
{
    void *p = s->dialogues;
    if (room(s, &p, s->n_dialogues, &s->cap_dialogues, sizeof *s->dialogues)) {
        s->dialogues = p;
        s->dialogues[s->n_dialogues++] = *d;
    }
}

void world_add_question(plmm_world_store *s, const plmm_world_question *q)
{
    void *p = s->questions;
    if (room(s, &p, s->n_questions, &s->cap_questions, sizeof *s->questions)) {
        s->questions = p;
        s->questions[s->n_questions++] = *q;
    }
}
