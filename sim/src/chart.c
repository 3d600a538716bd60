#include "chart.h"

#include <math.h>
#include <stdio.h>

/* The panel, in units that a page shows at about one pixel each. */
enum { WIDTH = 340, HEIGHT = 220, LEFT = 44, RIGHT = 122, TOP = 10, BOTTOM = 34 };
enum { LABEL_GAP = 13, TICKS_MAX = 12 };

typedef struct axis {
    double lo, hi, step;
    double from, to; /* where lo and hi lie on the page */
} axis;

static double place(const axis *a, double v)
{
    return a->from + (v - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

/* 1, 2, 2.5 (not for counts) or 5 times a power of ten, so that about want steps cover span. */
static double nice_step(double span, double want, bool halves)
{
    double raw = span / want;
    double power = pow(10.0, floor(log10(raw)));
    double m = raw / power;
    return power * (m <= 1.0 ? 1 : m <= 2.0 ? 2 : halves && m <= 2.5 ? 2.5 : m <= 5.0 ? 5 : 10);
}

static axis whole_ticks(double lo, double hi, bool halves, double from, double to)
{
    if (!(hi > lo)) {
        double pad = lo == 0 ? 1 : fabs(lo) * 0.1;
        lo -= pad;
        hi += pad;
    }
    double step = nice_step(hi - lo, 4, halves);
    double eps = step * 1e-6;
    return (axis){floor((lo + eps) / step) * step, ceil((hi - eps) / step) * step, step, from, to};
}

char *chart_number(char buf[32], chart_unit unit, double v)
{
    v = v == 0 ? 0 : v; /* no minus zero */
    switch (unit) {
    case CHART_PERCENT:
        (void)snprintf(buf, 32, "%.0f %%", 100 * v);
        break;
    case CHART_BYTES:
        return text_bytes(buf, v);
    case CHART_COUNT:
        (void)snprintf(buf, 32, "%.0f", v);
        break;
    case CHART_PLAIN:
        (void)snprintf(buf, 32, fabs(v) >= 99.95 ? "%.0f" : "%.2f", v);
        break;
    }
    return buf;
}

static void open_panel(text *t, const char *title, int height)
{
    text_fmt(t, "<svg class=\"panel\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH,
             height);
    text_html(t, title);
    text_add(t, "\">\n");
}

static void draw_axes(text *t, const chart_lines *c, const axis *x, const axis *y)
{
    char buf[32];
    int ticks = (int)lround((y->hi - y->lo) / y->step);
    for (int i = 0; i <= ticks && i < TICKS_MAX; i++) {
        double v = y->lo + i * y->step;
        double py = place(y, v);
        text_fmt(t, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT,
                 WIDTH - RIGHT, py, py);
        text_fmt(t, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 6,
                 py + 4);
        text_html(t, chart_number(buf, c->unit, v));
        text_add(t, "</text>\n");
    }
    double step = nice_step(x->hi - x->lo, 6, false);
    step = step < 1 ? 1 : step;
    double first = ceil(x->lo / step) * step;
    for (int i = 0; first + i * step <= x->hi + 1e-9; i++) {
        double v = first + i * step;
        text_fmt(t, "<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                 place(x, v), HEIGHT - BOTTOM + 15, v);
    }
    text_fmt(t, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT,
             WIDTH - RIGHT, HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    text_fmt(t, "<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">",
             (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
    text_html(t, c->x_label);
    text_add(t, "</text>\n");
}

static void draw_marker(text *t, unsigned style, double x, double y)
{
    switch (style % 4) {
    case 0:
        text_fmt(t, "<circle class=\"m%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>", style, x, y);
        break;
    case 1:
        text_fmt(t, "<rect class=\"m%u\" x=\"%.1f\" y=\"%.1f\" width=\"5.6\" height=\"5.6\"/>",
                 style, x - 2.8, y - 2.8);
        break;
    case 2:
        text_fmt(t, "<path class=\"m%u\" d=\"M%.1f %.1fl3.6 6.4h-7.2z\"/>", style, x, y - 4);
        break;
    default:
        text_fmt(t, "<path class=\"m%u\" d=\"M%.1f %.1fl3.8 3.8-3.8 3.8-3.8-3.8z\"/>", style, x,
                 y - 3.8);
    }
}

static void draw_band(text *t, const chart_series *s, const axis *x, const axis *y)
{
    text_fmt(t, "<path class=\"b%u\" d=\"", s->style);
    char verb = 'M';
    for (size_t i = 0; i < s->n; i++) {
        if (!isnan(s->y[i])) {
            text_fmt(t, "%c%.1f %.1f", verb, place(x, s->x[i]), place(y, s->hi[i]));
            verb = 'L';
        }
    }
    for (size_t i = s->n; i-- > 0;) {
        if (!isnan(s->y[i])) {
            text_fmt(t, "L%.1f %.1f", place(x, s->x[i]), place(y, s->lo[i]));
        }
    }
    text_add(t, "Z\"/>\n");
}

static void draw_series(text *t, const chart_series *s, const axis *x, const axis *y)
{
    text_fmt(t, "<path class=\"l%u\" d=\"", s->style);
    char verb = 'M';
    size_t points = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (!isnan(s->y[i])) {
            text_fmt(t, "%c%.1f %.1f", verb, place(x, s->x[i]), place(y, s->y[i]));
            verb = 'L';
            points++;
        }
    }
    text_add(t, "\"/>\n");
    size_t every = points / 12 + 1;
    for (size_t i = 0, k = 0; i < s->n; i++) {
        if (!isnan(s->y[i]) && k++ % every == 0) {
            draw_marker(t, s->style, place(x, s->x[i]), place(y, s->y[i]));
        }
    }
    text_add(t, "\n");
}

/* What stands to the right of the panel: each label at the height of its line, pushed apart. */
typedef struct end_label {
    const char *label;
    unsigned style;
    double value, at, want;
} end_label;

static void spread_labels(end_label *v, size_t n)
{
    for (size_t i = 1; i < n; i++) { /* by height; few, so insertion */
        for (size_t j = i; j > 0 && v[j].want < v[j - 1].want; j--) {
            end_label swap = v[j];
            v[j] = v[j - 1];
            v[j - 1] = swap;
        }
    }
    double floor_y = TOP + 4;
    for (size_t i = 0; i < n; i++) {
        v[i].at = v[i].want < floor_y ? floor_y : v[i].want;
        floor_y = v[i].at + LABEL_GAP;
    }
    double ceiling = HEIGHT - BOTTOM;
    for (size_t i = n; i-- > 0;) { /* and back up, should the lowest have left the panel */
        v[i].at = v[i].at > ceiling ? ceiling : v[i].at;
        ceiling = v[i].at - LABEL_GAP;
    }
}

static void draw_labels(text *t, const chart_lines *c, end_label *v, size_t n)
{
    char buf[32];
    spread_labels(v, n);
    for (size_t i = 0; i < n; i++) {
        int x = WIDTH - RIGHT;
        text_fmt(t,
                 "<path class=\"lead\" d=\"M%d %.1fL%d %.1f\"/><text class=\"t%u\" x=\"%d\" "
                 "y=\"%.1f\">",
                 x + 2, v[i].want, x + 9, v[i].at, v[i].style, x + 12, v[i].at + 4);
        text_html(t, v[i].label);
        text_add(t, " <tspan class=\"num\">");
        text_html(t, chart_number(buf, c->unit, v[i].value));
        text_add(t, "</tspan></text>\n");
    }
}

void chart_draw_lines(text *t, const chart_lines *c)
{
    axis x = {c->x_lo, c->x_hi > c->x_lo ? c->x_hi : c->x_lo + 1, 1, LEFT, WIDTH - RIGHT};
    axis y = whole_ticks(c->y_lo, c->y_hi, c->unit == CHART_PERCENT, HEIGHT - BOTTOM, TOP);
    end_label labels[CHART_SERIES_MAX + CHART_REFERENCES_MAX];
    size_t n = 0;
    PLMM_ASSERT(c->n_series <= CHART_SERIES_MAX && c->n_references <= CHART_REFERENCES_MAX);
    open_panel(t, c->title, HEIGHT);
    draw_axes(t, c, &x, &y);
    for (size_t i = 0; i < c->n_references; i++) {
        const chart_reference *r = &c->references[i];
        if (isnan(r->y)) {
            continue;
        }
        double py = place(&y, r->y);
        text_fmt(t, "<line class=\"r%u\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", r->style,
                 LEFT, WIDTH - RIGHT, py, py);
        labels[n++] = (end_label){r->label, r->style, r->y, 0, py};
    }
    for (size_t i = 0; i < c->n_series; i++) {
        if (c->series[i].lo != NULL) {
            draw_band(t, &c->series[i], &x, &y);
        }
    }
    for (size_t i = 0; i < c->n_series; i++) {
        const chart_series *s = &c->series[i];
        size_t last = s->n;
        while (last > 0 && isnan(s->y[last - 1])) {
            last--;
        }
        if (last > 0) {
            draw_series(t, s, &x, &y);
            labels[n++] =
                (end_label){s->label, s->style, s->y[last - 1], 0, place(&y, s->y[last - 1])};
        }
    }
    draw_labels(t, c, labels, n);
    text_add(t, "</svg>\n");
}

void chart_draw_bars(text *t, const char *title, const chart_bar *bars, size_t n)
{
    enum { ROW = 25, NAME = 66, VALUE = 84 };
    double top = 0;
    for (size_t i = 0; i < n; i++) {
        double end = isnan(bars[i].hi) ? bars[i].x : bars[i].hi;
        top = end > top ? end : top;
    }
    axis x = {0, top > 0 ? top : 1, 1, NAME, WIDTH - VALUE};
    int height = (int)n * ROW + 6;
    open_panel(t, title, height);
    text_fmt(t, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"0\" y2=\"%d\"/>\n", NAME, NAME,
             height);
    for (size_t i = 0; i < n; i++) {
        const chart_bar *b = &bars[i];
        double y = 6 + (double)(ROW * i);
        double end = place(&x, b->x);
        text_fmt(t, "<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", NAME - 7,
                 y + 12);
        text_html(t, b->label);
        text_fmt(t, "</text><rect class=\"bar\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"16\"/>",
                 NAME, y, end - NAME);
        if (!isnan(b->hi) && b->hi > b->lo) {
            double lo = place(&x, b->lo);
            double hi = place(&x, b->hi);
            text_fmt(t, "<path class=\"whisker\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"/>",
                     lo, y + 8, hi, lo, y + 4, hi, y + 4);
            end = hi > end ? hi : end;
        }
        text_fmt(t, "<text class=\"val\" x=\"%.1f\" y=\"%.1f\">", end + 6, y + 12);
        text_html(t, b->value);
        text_add(t, "</text>\n");
    }
    text_add(t, "</svg>\n");
}

void chart_draw_move(text *t, double lo, double hi, double from, double to, double spread,
                     double chance)
{
    axis x = {lo, hi > lo ? hi : lo + 1, 1, 3, 97}; /* percent of the cell */
    double a = place(&x, from);
    double b = place(&x, to);
    double s = fabs(place(&x, to + spread) - b);
    text_add(t, "<svg class=\"move\" width=\"100%\" height=\"22\" aria-hidden=\"true\">");
    text_add(t, "<line class=\"grid\" x1=\"3%\" x2=\"97%\" y1=\"11\" y2=\"11\"/>");
    if (!isnan(chance)) {
        double c = place(&x, chance);
        text_fmt(t, "<line class=\"r9\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"1\" y2=\"21\"/>", c, c);
    }
    text_fmt(t, "<line class=\"shift\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"11\" y2=\"11\"/>", a, b);
    text_fmt(t, "<line class=\"whisker\" x1=\"%.2f%%\" x2=\"%.2f%%\" y1=\"17\" y2=\"17\"/>", b - s,
             b + s);
    text_fmt(t, "<circle class=\"hollow\" cx=\"%.2f%%\" cy=\"11\" r=\"4\"/>", a);
    text_fmt(t, "<circle class=\"full\" cx=\"%.2f%%\" cy=\"11\" r=\"4.5\"/></svg>", b);
}
