/* report.c -- report.html: one page that carries everything it shows. No script, no outside
 * resource. */
#include "chart.h"
#include "report_style.h"

#include "plmm/alloc.h"
#include "plmm/file.h"
#include "plmm/run_record.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double none = (double)NAN;

/* Is there any exact-match score in the run? Free text has none, and is judged by its loss. */
static bool has_exact(const plmm_run *run)
{
    for (size_t i = 0; i < run->n_scores; i++) {
        if (!isnan(run->scores[i].exact)) {
            return true;
        }
    }
    return false;
}

static uint32_t last_round(const plmm_run *run)
{
    uint32_t last = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        last = run->rounds[i].slot > last ? run->rounds[i].slot : last;
    }
    for (size_t i = 0; i < run->n_scores; i++) {
        last = run->scores[i].slot > last ? run->scores[i].slot : last;
    }
    return last;
}

/* ---- headline ---- */

typedef struct headline {
    size_t rows, ahead; /* domain and kind pairs; those better than the base in every seed */
    double base, expert;
    size_t completed, checked, exact;
    uint64_t started, dropped;
    double up_per_device;
} headline;

static headline headline_of(const plmm_run *run, bool exact)
{
    headline h = {0};
    for (uint32_t e = 0; e < run->n_experts; e++) {
        for (uint32_t k = 0; k < run->n_kinds; k++) {
            plmm_summary m = plmm_run_summary(run, e, k);
            plmm_spread gain = exact ? m.exact_gain : m.nll_gain;
            if (gain.n > 0) {
                h.rows++;
                h.ahead += gain.lo > 0;
                h.base += exact ? m.base_exact.mean : m.base_nll.mean;
                h.expert += exact ? m.exact.mean : m.nll.mean;
            }
        }
    }
    h.base /= h.rows > 0 ? (double)h.rows : 1;
    h.expert /= h.rows > 0 ? (double)h.rows : 1;
    uint64_t up = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *r = &run->rounds[i];
        h.completed += r->completed;
        h.started += r->invited;
        up += r->bytes_up;
        for (unsigned s = 0; s < PLMM_STEPS; s++) {
            h.dropped += r->dropped[s];
        }
    }
    h.up_per_device = h.started > 0 ? (double)up / (double)h.started : 0;
    plmm_run_checked(run, &h.checked, &h.exact);
    return h;
}

static void tile(text *t, const char *value, const char *what)
{
    text_add(t, "<div class=\"tile\"><b>");
    text_html(t, value);
    text_add(t, "</b><span>");
    text_html(t, what);
    text_add(t, "</span></div>\n");
}

static void put_tiles(text *t, const plmm_run *run, const headline *h, bool exact)
{
    char v[64];
    char w[96];
    char buf[32];
    text_add(t, "<div class=\"tiles\">\n");
    if (h->rows > 0) {
        if (exact) {
            (void)snprintf(v, sizeof v, "%.1f \xe2\x86\x92 %.1f %%", 100 * h->base,
                           100 * h->expert);
        } else {
            (void)snprintf(v, sizeof v, "%.3f \xe2\x86\x92 %.3f", h->base, h->expert);
        }
        tile(t, v,
             exact ? "held-out answers right, base to experts, mean of all rows below"
                   : "held-out loss (nats a token), base to experts, mean of all rows below");
    }
    (void)snprintf(v, sizeof v, "%zu of %zu", h->completed, run->n_rounds);
    tile(t, v, "rounds completed");
    (void)snprintf(v, sizeof v, "%llu of %llu", (unsigned long long)h->dropped,
                   (unsigned long long)h->started);
    tile(t, v, "devices that started a round and vanished in it");
    (void)snprintf(v, sizeof v, "%zu of %zu", h->exact, h->checked);
    tile(t, v, "rounds checked bit-exact: unmasked sum = plain sum of the survivors");
    (void)snprintf(w, sizeof w, "sent by a device in a round, masked and signed");
    tile(t, text_bytes(buf, h->up_per_device), w);
    text_add(t, "</div>\n");
}

static void put_lead(text *t, const plmm_run *run, const headline *h, bool exact)
{
    text_add(t, "<p class=\"lead-in\">");
    if (h->rows == 0) {
        text_add(t, "Nothing was scored in this run.</p>\n");
        return;
    }
    const char *seeds = run->n_seeds == 1 ? "the one seed" : "every seed";
    if (h->ahead == h->rows) {
        text_fmt(t, "Under %s, in every domain and on every kind of held-out question, ", seeds);
    } else {
        text_fmt(t, "In %zu of %zu rows below, under %s, ", h->ahead, h->rows, seeds);
    }
    text_add(t, exact ? "the expert answers more questions than the base it started from. "
                      : "the expert's loss is lower than that of the base it started from. ");
    text_add(t, "All that it learned came through masked sums: "
                "nobody saw the update of a single device.</p>\n");
}

/* ---- the table of results ---- */

static void cell(text *t, const char *label, const char *class, const char *value)
{
    text_fmt(t, "<td data-label=\"%s\" class=\"%s\">%s</td>", label, class, value);
}

/* "62.3 %" or "3.214" or a dash, with " ± spread" if spread is no NAN and a sign if sign is set. */
static char *figure(char buf[64], bool exact, bool sign, double v, double spread)
{
    const char *plus = sign && v > 0 ? "+" : "";
    if (isnan(v)) {
        (void)snprintf(buf, 64, "\xe2\x80\x93");
    } else if (exact && isnan(spread)) {
        (void)snprintf(buf, 64, "%s%.1f%s", plus, 100 * v, sign ? "" : " %");
    } else if (exact) {
        (void)snprintf(buf, 64, "%s%.1f \xc2\xb1 %.1f", plus, 100 * v, 100 * spread);
    } else if (isnan(spread)) {
        (void)snprintf(buf, 64, "%s%.3f", plus, v);
    } else {
        (void)snprintf(buf, 64, "%s%.3f \xc2\xb1 %.3f", plus, v, spread);
    }
    return buf;
}

/* One seed has no spread: nothing is claimed then. */
static double spread_of(const plmm_spread *s)
{
    return s->n > 1 ? s->sd : none;
}

static const char *tone(const plmm_spread *gain)
{
    return gain->lo > 0 ? "margin good" : gain->hi < 0 ? "margin bad" : "margin";
}

static void result_row(text *t, const plmm_run *run, const plmm_summary *m, uint32_t e, uint32_t k,
                       bool exact, const double range[2])
{
    char b[64];
    text_fmt(t, "<tr%s><th class=\"name\" scope=\"row\">", k == 0 ? " class=\"next\"" : "");
    text_html(t, run->experts[e]);
    text_add(t, "</th><td class=\"name\">");
    text_html(t, run->kinds[k]);
    text_fmt(t, " <span class=\"soft\">(%u)</span></td><td class=\"picture\">", m->items);
    const plmm_spread *from = exact ? &m->base_exact : &m->base_nll;
    const plmm_spread *to = exact ? &m->exact : &m->nll;
    const plmm_spread *gain = exact ? &m->exact_gain : &m->nll_gain;
    chart_draw_move(t, range[0], range[1], from->mean, to->mean, gain->sd,
                    exact ? m->chance.mean : none);
    text_add(t, "</td>");
    if (exact) {
        cell(t, "base", "", figure(b, true, false, m->base_exact.mean, none));
        cell(t, "expert", "", figure(b, true, false, m->exact.mean, none));
        cell(t, "margin, points", tone(gain), figure(b, true, true, gain->mean, spread_of(gain)));
        cell(t, "chance", "", figure(b, true, false, m->chance.mean, none));
    }
    double fall = -m->nll_gain.mean;
    cell(t, "loss, base", "", figure(b, false, false, m->base_nll.mean, none));
    cell(t, "loss, expert", "", figure(b, false, false, m->nll.mean, none));
    cell(t, "loss, change", exact ? "" : tone(gain),
         figure(b, false, true, fall, spread_of(&m->nll_gain)));
    if (!exact) {
        (void)snprintf(b, sizeof b, "%+.1f %%", 100 * fall / m->base_nll.mean);
        cell(t, "in percent", "", b);
        (void)snprintf(b, sizeof b, "%.1f \xe2\x86\x92 %.1f", exp(m->base_nll.mean),
                       exp(m->nll.mean));
        cell(t, "perplexity", "", b);
    }
    text_add(t, "</tr>\n");
}

/* Of the moves in the table: 0..1 for shares, the values with some air for losses. */
static void result_range(const plmm_run *run, bool exact, double range[2])
{
    range[0] = 0;
    range[1] = 1;
    if (exact) {
        return;
    }
    double lo = INFINITY;
    double hi = 0;
    for (size_t i = 0; i < run->n_scores; i++) {
        lo = fmin(lo, run->scores[i].nll);
        hi = fmax(hi, run->scores[i].nll);
    }
    if (lo < hi) {
        range[0] = lo - 0.08 * (hi - lo);
        range[1] = hi + 0.08 * (hi - lo);
    }
}

static void put_results(text *t, const plmm_run *run, bool exact)
{
    double range[2];
    result_range(run, exact, range);
    text_add(t, "<h2>Expert against base</h2>\n<div class=\"wide\"><table class=\"result\">"
                "<thead><tr><th class=\"name\">domain</th><th class=\"name\">held-out questions "
                "(how many)</th><th class=\"name\">");
    text_add(t, exact ? "answers right, 0 to 100 %</th><th>base</th><th>expert</th>"
                        "<th>margin, points</th><th>chance</th>"
                      : "loss, nats a token</th>");
    text_add(t, "<th>loss, base</th><th>loss, expert</th><th>loss, change</th>");
    text_add(t, exact ? "" : "<th>in percent</th><th>perplexity</th>");
    text_add(t, "</tr></thead><tbody>\n");
    for (uint32_t e = 0; e < run->n_experts; e++) {
        for (uint32_t k = 0; k < run->n_kinds; k++) {
            plmm_summary m = plmm_run_summary(run, e, k);
            if (m.nll.n > 0) {
                result_row(t, run, &m, e, k, exact, range);
            }
        }
    }
    text_add(t, "</tbody></table></div>\n<p class=\"soft\">");
    text_add(t, exact ? "Right means that the greedy answer equals the expected one. " : "");
    text_fmt(t,
             "Hollow mark: base; full mark: expert after the last round%s. The margin is taken "
             "within each seed; \xc2\xb1 is its standard deviation over %zu seed%s.",
             exact ? "; dotted stroke: what guessing gets" : "", run->n_seeds,
             run->n_seeds == 1 ? " (none can be given)" : "s");
    text_add(t, " Loss is the mean negative log-likelihood of a token of the answer.</p>\n");
}

/* ---- curves over rounds ---- */

typedef plmm_spread (*score_at)(const plmm_run *, uint32_t, uint32_t, uint32_t);

typedef struct curve {
    double *x, *y, *lo, *hi; /* parts of one block, owned through x */
    size_t n;
} curve;

static bool curve_new(curve *c, size_t cap)
{
    double *p = plmm_alloc(4 * cap, sizeof *p);
    *c = (curve){p, p + cap, p + 2 * cap, p + 3 * cap, 0};
    return p != NULL;
}

static void curve_add(curve *c, double x, const plmm_spread *s)
{
    c->x[c->n] = x;
    c->y[c->n] = s->mean;
    c->lo[c->n] = s->mean - s->sd;
    c->hi[c->n] = s->mean + s->sd;
    c->n++;
}

static void score_range(const plmm_run *run, score_at at, uint32_t last, double range[2])
{
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (uint32_t e = 0; e < run->n_experts; e++) {
        for (uint32_t k = 0; k < run->n_kinds; k++) {
            for (uint32_t v = 0; v <= last; v++) {
                plmm_spread s = at(run, e, k, v);
                if (s.n > 0) {
                    range[0] = fmin(range[0], fmax(0, s.mean - s.sd));
                    range[1] = fmax(range[1], s.mean + s.sd);
                }
            }
        }
    }
}

static void score_panel(text *t, const plmm_run *run, uint32_t e, score_at at, bool exact,
                        const double range[2], uint32_t last)
{
    curve curves[CHART_SERIES_MAX] = {0};
    chart_series series[CHART_SERIES_MAX];
    chart_reference refs[CHART_REFERENCES_MAX];
    size_t n = 0;
    size_t n_refs = 0;
    for (uint32_t k = 0; k < run->n_kinds && n < CHART_SERIES_MAX; k++) {
        curve *c = &curves[n];
        if (!curve_new(c, (size_t)last + 1)) {
            t->failed = true;
            break;
        }
        for (uint32_t v = 0; v <= last; v++) {
            plmm_spread s = at(run, e, k, v);
            if (s.n > 0) {
                curve_add(c, v, &s);
                c->lo[c->n - 1] = fmax(c->lo[c->n - 1], 0); /* no loss and no share is below 0, */
                c->hi[c->n - 1] = fmin(c->hi[c->n - 1], exact ? 1 : INFINITY); /* or above 1 */
            }
        }
        series[n] = (chart_series){
            run->kinds[k], k, c->n, c->x, c->y, run->n_seeds > 1 ? c->lo : NULL, c->hi};
        if (c->n > 0 && n_refs < CHART_REFERENCES_MAX - 1) {
            refs[n_refs++] = (chart_reference){"base", k, c->y[0]};
        }
        n++;
    }
    if (exact) {
        refs[n_refs++] =
            (chart_reference){"chance", CHART_GREY, plmm_run_summary(run, e, 0).chance.mean};
    }
    char title[160];
    (void)snprintf(title, sizeof title, "%s of %s over rounds",
                   exact ? "share of held-out answers right" : "held-out loss", run->experts[e]);
    chart_lines c = {
        title, "round", exact ? CHART_PERCENT : CHART_PLAIN, 0, last, range[0], range[1], series, n,
        refs,  n_refs};
    text_add(t, "<figure><h3>");
    text_html(t, run->experts[e]);
    text_add(t, "</h3>\n");
    chart_draw_lines(t, &c);
    text_add(t, "</figure>\n");
    for (size_t i = 0; i < CHART_SERIES_MAX; i++) {
        plmm_free(curves[i].x);
    }
}

static void put_scores(text *t, const plmm_run *run, bool exact, uint32_t last)
{
    score_at at = exact ? plmm_run_exact_at : plmm_run_nll_at;
    double range[2];
    score_range(run, at, last, range);
    if (!(range[0] <= range[1])) {
        return;
    }
    if (exact) {
        range[0] = 0;
        range[1] = 1;
    }
    text_fmt(t,
             "<h2>%s</h2>\n<p class=\"soft\">Mean over seeds%s; long dashes: the base; "
             "%sone scale for all domains.</p>\n<div class=\"grid-of\">\n",
             exact ? "Held-out answers right, round by round" : "Held-out loss, round by round",
             run->n_seeds > 1 ? ", shaded: one standard deviation to either side" : "",
             exact ? "dots: chance; " : "");
    for (uint32_t e = 0; e < run->n_experts; e++) {
        score_panel(t, run, e, at, exact, range, last);
    }
    text_add(t, "</div>\n");
}

/* ---- what the rounds cost ---- */

typedef double (*round_value)(const plmm_round_record *r);

static double up_of(const plmm_round_record *r)
{
    return r->invited == 0 ? none : (double)r->bytes_up / r->invited;
}

static double down_of(const plmm_round_record *r)
{
    return r->invited == 0 ? none : (double)r->bytes_down / r->invited;
}

static double version_of(const plmm_round_record *r)
{
    return r->fetches == 0 ? none : (double)r->bytes_version / r->fetches;
}

static double clear_of(const plmm_round_record *r)
{
    return 4.0 * r->length;
}

static double invited_of(const plmm_round_record *r)
{
    return r->invited;
}

static double survivors_of(const plmm_round_record *r)
{
    return r->survivors;
}

static double threshold_of(const plmm_round_record *r)
{
    return r->threshold == 0 ? none : r->threshold;
}

/* Mean and spread of a value over all domains and seeds, round by round. */
static bool round_curve(const plmm_run *run, round_value value, uint32_t last, bool extremes,
                        curve *c)
{
    if (!curve_new(c, (size_t)last + 1)) {
        return false;
    }
    for (uint32_t round = 1; round <= last; round++) {
        double sum = 0;
        double squares = 0;
        double lo = INFINITY;
        double hi = -INFINITY;
        size_t n = 0;
        for (size_t i = 0; i < run->n_rounds; i++) {
            double v = run->rounds[i].slot == round && run->rounds[i].completed
                           ? value(&run->rounds[i])
                           : none;
            if (!isnan(v)) {
                sum += v;
                squares += v * v;
                lo = fmin(lo, v);
                hi = fmax(hi, v);
                n++;
            }
        }
        if (n > 0) {
            double mean = sum / (double)n;
            double sd = sqrt(fmax(0, squares / (double)n - mean * mean));
            plmm_spread s = {mean, sd, lo, hi, n};
            curve_add(c, round, &s);
            c->lo[c->n - 1] = extremes ? lo : mean - sd;
            c->hi[c->n - 1] = extremes ? hi : mean + sd;
        }
    }
    return true;
}

typedef struct round_line {
    const char *label;
    round_value value;
} round_line;

static void round_panel(text *t, const plmm_run *run, const char *title, const char *caption,
                        chart_unit unit, const round_line *lines, size_t n, uint32_t last)
{
    curve curves[CHART_SERIES_MAX] = {0};
    chart_series series[CHART_SERIES_MAX];
    double top = 0;
    size_t made = 0;
    for (; made < n; made++) {
        curve *c = &curves[made];
        if (!round_curve(run, lines[made].value, last, true, c)) {
            t->failed = true;
            break;
        }
        for (size_t i = 0; i < c->n; i++) {
            top = fmax(top, c->hi[i]);
        }
        series[made] =
            (chart_series){lines[made].label, (unsigned)made, c->n, c->x, c->y, c->lo, c->hi};
    }
    chart_lines c = {title, "round", unit, 1, last, 0, top, series, made, NULL, 0};
    text_add(t, "<figure><h3>");
    text_html(t, title);
    text_add(t, "</h3>\n");
    chart_draw_lines(t, &c);
    text_add(t, "<figcaption>");
    text_add(t, caption);
    text_add(t, "</figcaption></figure>\n");
    for (size_t i = 0; i < CHART_SERIES_MAX; i++) {
        plmm_free(curves[i].x);
    }
}

static void dropout_panel(text *t, const plmm_run *run)
{
    chart_bar bars[PLMM_STEPS];
    char values[PLMM_STEPS][32];
    uint64_t left = 0;
    uint64_t gone[PLMM_STEPS] = {0};
    for (size_t i = 0; i < run->n_rounds; i++) {
        left += run->rounds[i].invited;
        for (unsigned s = 0; s < PLMM_STEPS; s++) {
            gone[s] += run->rounds[i].dropped[s];
        }
    }
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        double share = left > 0 ? 100.0 * (double)gone[s] / (double)left : 0;
        (void)snprintf(values[s], sizeof values[s], "%llu (%.1f %%)", (unsigned long long)gone[s],
                       share);
        bars[s] = (chart_bar){plmm_step_name(s), values[s], (double)gone[s], none, none};
        left -= gone[s] < left ? gone[s] : left;
    }
    text_add(t, "<figure><h3>Dropouts by step</h3>\n");
    chart_draw_bars(t, "devices that dropped out, by step", bars, PLMM_STEPS);
    text_add(t, "<figcaption>Devices that vanished before their answer to a step, over all rounds, "
                "domains and seeds; in brackets, of those still there.</figcaption></figure>\n");
}

static void phase_panel(text *t, const plmm_run *run)
{
    chart_bar bars[PLMM_PHASES];
    char values[PLMM_PHASES][32];
    for (unsigned p = 0; p < PLMM_PHASES; p++) {
        double sum = 0;
        double lo = INFINITY;
        double hi = 0;
        size_t n = 0;
        for (size_t i = 0; i < run->n_rounds; i++) {
            if (run->rounds[i].completed) {
                double v = (double)run->rounds[i].phase_ms[p];
                sum += v;
                lo = fmin(lo, v);
                hi = fmax(hi, v);
                n++;
            }
        }
        double mean = n > 0 ? sum / (double)n : 0;
        bars[p] = (chart_bar){plmm_phase_name((plmm_phase)p), text_ms(values[p], mean), mean,
                              n > 0 ? lo : none, n > 0 ? hi : none};
    }
    text_add(t, "<figure><h3>Virtual time by phase</h3>\n");
    chart_draw_bars(t, "virtual time of a round, by phase", bars, PLMM_PHASES);
    text_add(t, "<figcaption>Mean of the completed rounds; whisker: shortest to longest. Training "
                "lasts until the slowest survivor is done, upload from then on.</figcaption>"
                "</figure>\n");
}

static void put_costs(text *t, const plmm_run *run)
{
    static const round_line devices[] = {
        {"checked in", invited_of}, {"survived", survivors_of}, {"threshold t", threshold_of}};
    static const round_line octets[] = {
        {"up", up_of}, {"down", down_of}, {"in clear, f32", clear_of}, {"new version", version_of}};
    uint32_t last = last_round(run);
    if (run->n_rounds == 0) {
        return;
    }
    text_add(t, "<h2>What the rounds cost</h2>\n<p class=\"soft\">Over all domains and seeds; "
                "shaded: smallest to largest.</p>\n<div class=\"grid-of\">\n");
    round_panel(t, run, "Bytes of a device in a round",
                "Up and down: frames of the protocol, signatures and shares included. New version: "
                "fetching the merged expert. In clear: the update as plain floats, for comparison.",
                CHART_BYTES, octets, 4, last);
    round_panel(t, run, "Devices in a round",
                "The sum opens only if the neighbours of a device that still answer number at "
                "least t.",
                CHART_COUNT, devices, 3, last);
    dropout_panel(t, run);
    phase_panel(t, run);
    text_add(t, "</div>\n");
}

/* ---- tables of facts ---- */

static void put_facts(text *t, const plmm_run *run)
{
    const char *section = "";
    for (size_t i = 0; i < run->n_facts; i++) {
        const plmm_run_fact *f = &run->facts[i];
        if (strcmp(section, f->section) != 0) {
            text_add(t, i == 0 ? "<h2>" : "</dl>\n<h2>");
            text_html(t, f->section);
            text_add(t, "</h2>\n<dl>\n");
            section = f->section;
        }
        text_add(t, "<dt>");
        text_html(t, f->key);
        text_add(t, "</dt><dd>");
        text_html(t, f->value);
        if (f->help[0] != '\0') {
            text_add(t, "<span class=\"help\">");
            text_html(t, f->help);
            text_add(t, "</span>");
        }
        text_add(t, "</dd>\n");
    }
    text_add(t, run->n_facts > 0 ? "</dl>\n" : "");
}

static void put_round_row(text *t, const plmm_run *run, const plmm_round_record *r)
{
    char up[32];
    char down[32];
    char span[32];
    text_fmt(t, "<tr><td>%llu</td><td class=\"name\">",
             (unsigned long long)run->seeds[r->seed_index]);
    text_html(t, run->experts[r->expert]);
    text_fmt(t, "</td><td>%u</td><td class=\"name\">", r->round);
    text_html(t, r->completed ? "completed" : r->reason);
    text_fmt(t, "</td><td>%u</td><td>%u</td><td>%u, %u</td><td>%u</td><td>", r->invited,
             r->survivors, r->neighbours, r->threshold, r->epoch);
    for (unsigned s = 0; s < PLMM_STEPS; s++) {
        text_fmt(t, "%s%u", s == 0 ? "" : "+", r->dropped[s]);
    }
    text_fmt(t, "</td><td>%u</td><td>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n", r->restarts,
             text_bytes(up, (double)r->bytes_up),
             text_bytes(down, (double)(r->bytes_down + r->bytes_version)),
             text_ms(span, (double)(r->end_ms - r->start_ms)),
             !r->sum_checked ? "\xe2\x80\x93"
             : r->sum_exact  ? "yes"
                             : "NO");
}

/* ---- groups of a round ---- */

/* Mean of update_norm and nll_alone over the other groups of r's round; NAN without any. */
static void beside(const plmm_run *run, const plmm_round_record *r, double *norm, double *nll)
{
    double n = 0;
    *norm = 0;
    *nll = 0;
    for (size_t i = 0; i < run->n_rounds; i++) {
        const plmm_round_record *q = &run->rounds[i];
        if (q != r && q->seed_index == r->seed_index && q->expert == r->expert &&
            q->slot == r->slot && q->completed) {
            *norm += q->update_norm;
            *nll += q->nll_alone;
            n++;
        }
    }
    *norm = n > 0 ? *norm / n : none;
    *nll = n > 0 ? *nll / n : none;
}

/* What stands out: an update against the others', or one that is longer and worse than theirs. */
static bool stands_out(const plmm_round_record *r, double norm, double nll)
{
    return r->cosine < 0 || (r->update_norm > 1.5 * norm && r->nll_alone > nll);
}

static void put_group_row(text *t, const plmm_run *run, const plmm_round_record *r)
{
    double norm;
    double nll;
    beside(run, r, &norm, &nll);
    bool odd = stands_out(r, norm, nll);
    text_fmt(t, "<tr><td>%llu</td><td class=\"name\">",
             (unsigned long long)run->seeds[r->seed_index]);
    text_html(t, run->experts[r->expert]);
    text_fmt(t, "</td><td>%u</td><td>%u</td><td>%u</td>", r->slot, r->group + 1, r->survivors);
    const double reals[] = {r->update_norm, norm, r->cosine, r->nll_alone, nll};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        if (isnan(reals[i])) {
            text_add(t, "<td>\xe2\x80\x93</td>");
        } else {
            text_fmt(t, "<td>%.3f</td>", reals[i]);
        }
    }
    text_fmt(t, "<td class=\"name\">%s</td><td>%u</td></tr>\n",
             odd ? "<b class=\"bad\">stands out</b>" : "", r->lying);
}

static void put_groups(text *t, const plmm_run *run)
{
    enum { SHOWN_MAX = 1000 };
    size_t shown = 0;
    for (size_t i = 0; i < run->n_rounds && shown < SHOWN_MAX; i++) {
        const plmm_round_record *r = &run->rounds[i];
        if (r->groups <= 1 || !r->completed) {
            continue;
        }
        if (shown++ == 0) {
            text_add(
                t, "<h2>Groups of a round</h2>\n<p>Each round is split into random groups, and the "
                   "aggregator learns one sum of each: it sees no single update, but it sees which "
                   "group one moved. Beside a group stand the others of its round. <b>Lying</b> is "
                   "what the simulator knows and an aggregator does not.</p>\n"
                   "<div class=\"wide\"><table><thead><tr><th>seed</th>"
                   "<th class=\"name\">domain</th><th>round</th><th>group</th><th>survived</th>"
                   "<th>norm</th><th>others</th><th>cosine with others</th>"
                   "<th>loss with it alone</th><th>others</th><th class=\"name\"></th>"
                   "<th>lying</th></tr></thead><tbody>\n");
        }
        put_group_row(t, run, r);
    }
    text_add(t, shown > 0 ? "</tbody></table></div>\n" : "");
    if (shown == SHOWN_MAX) {
        text_fmt(t, "<p class=\"soft\">The first %d; rounds.csv has all.</p>\n", SHOWN_MAX);
    }
}

static void put_rounds(text *t, const plmm_run *run)
{
    enum { SHOWN_MAX = 2000 };
    text_add(t, "<details><summary>Every round</summary>\n<div class=\"wide\"><table><thead><tr>"
                "<th>seed</th><th class=\"name\">domain</th><th>round</th>"
                "<th class=\"name\">outcome</th><th>checked in</th><th>survived</th><th>k, "
                "t</th><th>rounds since the seal</th>"
                "<th>gone at R0+R1+R2+R3+R4</th><th>restarts</th><th>up</th><th>down</th>"
                "<th>virtual time</th><th>bit-exact</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < run->n_rounds && i < SHOWN_MAX; i++) {
        put_round_row(t, run, &run->rounds[i]);
    }
    text_add(t, "</tbody></table></div>\n");
    if (run->n_rounds > SHOWN_MAX) {
        text_fmt(t, "<p class=\"soft\">The first %d of %zu; rounds.csv has all.</p>\n", SHOWN_MAX,
                 run->n_rounds);
    }
    text_add(t, "</details>\n");
}

static void put_config(text *t, const plmm_run *run)
{
    if (run->config != NULL) {
        text_add(t, "<details><summary>The whole configuration</summary>\n<pre>");
        text_html(t, run->config);
        text_add(t, "</pre></details>\n");
    }
}

/* ---- the page ---- */

static void put_head(text *t, const plmm_run *run)
{
    text_add(t, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
    text_html(t, run->name);
    text_add(t, " \xe2\x80\x93 plmm</title>\n<style>\n");
    for (size_t i = 0; report_style[i] != NULL; i++) {
        text_add(t, report_style[i]);
        text_add(t, "\n");
    }
    text_add(t, "</style></head>\n<body><main>\n<header><h1>Federated run: ");
    text_html(t, run->name);
    text_fmt(t, "</h1>\n<div class=\"soft\">%zu domain%s, %zu seed%s (", run->n_experts,
             run->n_experts == 1 ? "" : "s", run->n_seeds, run->n_seeds == 1 ? "" : "s");
    for (size_t i = 0; i < run->n_seeds; i++) {
        text_fmt(t, "%s%llu", i == 0 ? "" : ", ", (unsigned long long)run->seeds[i]);
    }
    text_fmt(t, "), %u rounds each, secure aggregation on</div></header>\n", last_round(run));
}

plmm_status plmm_run_write_report(const plmm_run *run, const char *path, plmm_error *err)
{
    text t = {0};
    bool exact = has_exact(run);
    headline h = headline_of(run, exact);
    uint32_t last = last_round(run);
    put_head(&t, run);
    put_lead(&t, run, &h, exact);
    put_tiles(&t, run, &h, exact);
    put_results(&t, run, exact);
    if (exact) {
        put_scores(&t, run, true, last);
    }
    put_scores(&t, run, false, last);
    put_costs(&t, run);
    put_groups(&t, run);
    put_facts(&t, run);
    put_rounds(&t, run);
    put_config(&t, run);
    text_add(&t, "<footer>Drawn by plmm-sim from the run's own records: rounds.csv and run.db "
                 "beside this page hold every number in it. All times are virtual; wall time and "
                 "machine are in timing.json.</footer>\n</main></body></html>\n");
    plmm_status rc =
        t.failed ? plmm_fail(err, PLMM_ERR_NOMEM, "cannot write the report %s: out of memory", path)
                 : plmm_file_write(path, t.p, t.len, PLMM_MODE_PUBLIC, err);
    text_free(&t);
    return rc;
}
