/* The queue gives events in the order of (time, sequence), whatever the order of posting. */
#include "plmm/alloc.h"
#include "plmm/event_queue.h"
#include "plmm/rng.h"

#include "test.h"

static void order(void)
{
    plmm_event_queue q = {0};
    plmm_error err;
    plmm_rng r;
    plmm_rng_init(&r, plmm_test_seed(1), 0);
    enum { N = 2000 };
    size_t posted = 0;
    size_t popped = 0;
    plmm_sim_event last = {0};
    while (popped < N) {
        bool post = posted < N && (q.n == 0 || plmm_rng_below(&r, 3) != 0);
        plmm_sim_event ev = {.at_ms = q.now_ms + plmm_rng_below(&r, 20), .tag = posted};
        if (post) {
            CHECK(plmm_event_queue_post(&q, &ev, &err) == PLMM_OK, "post %zu", posted);
            posted++;
        } else {
            const plmm_sim_event *head = plmm_event_queue_peek(&q);
            CHECK(head != NULL, "queue of %zu has a head", q.n);
            CHECK(plmm_event_queue_pop(&q, &ev), "pop %zu", popped);
            CHECK(ev.at_ms > last.at_ms || (ev.at_ms == last.at_ms && ev.seq > last.seq) ||
                      popped == 0,
                  "event %zu (time %" PRIu64 ") came after time %" PRIu64, popped, ev.at_ms,
                  last.at_ms);
            CHECK(ev.seq == ev.tag, "sequence is the order of posting");
            last = ev;
            popped++;
        }
    }
    plmm_sim_event ev;
    CHECK(!plmm_event_queue_pop(&q, &ev), "an empty queue gives nothing");
    CHECK(plmm_event_queue_peek(&q) == NULL, "an empty queue has no head");
    plmm_event_queue_free(&q);
}

static void out_of_memory(void)
{
    plmm_event_queue q = {0};
    plmm_error err;
    plmm_sim_event ev = {.at_ms = 3};
    plmm_alloc_fail_at(0);
    CHECK(plmm_event_queue_post(&q, &ev, &err) == PLMM_ERR_NOMEM, "first allocation fails");
    plmm_alloc_fail_at(-1);
    CHECK(q.n == 0 && plmm_event_queue_peek(&q) == NULL, "the queue is as it was");
    CHECK(plmm_event_queue_post(&q, &ev, &err) == PLMM_OK, "and works afterwards");
    plmm_event_queue_free(&q);
    CHECK(plmm_alloc_live() == 0, "%ld blocks leak", plmm_alloc_live());
}

int main(void)
{
    order();
    out_of_memory();
    return plmm_test_end();
}
