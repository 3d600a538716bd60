/* chart.h -- small charts as inline SVG: drawn for print and for every kind of eye. What a colour
 * says is also said by a dash, a marker and a label beside the line; colours are variables of the
 * page (see report.c), so that light, dark and paper each have their own. Every panel has the same
 * size, so text is equally large in all of them. Output depends on the arguments alone. */
#ifndef PLMM_SIM_CHART_H
#define PLMM_SIM_CHART_H

#include "text.h"

typedef enum chart_unit { CHART_PLAIN, CHART_PERCENT, CHART_BYTES, CHART_COUNT } chart_unit;

/* Writes v as an axis or a label says it: 3.21, 62 %, 24.1 kB, 17. */
char *chart_number(char buf[32], chart_unit unit, double v);

/* A line with markers, and a band from lo to hi; points with NAN are left out. style 0..3 picks
 * colour, dash and marker together. */
typedef struct chart_series {
    const char *label;
    unsigned style;
    size_t n;
    const double *x, *y, *lo, *hi; /* lo and hi may be NULL */
} chart_series;

/* A horizontal line over the whole panel: dashed in a series' colour, or dotted grey (style 9). */
typedef struct chart_reference {
    const char *label;
    unsigned style;
    double y;
} chart_reference;

enum { CHART_SERIES_MAX = 4, CHART_REFERENCES_MAX = 6, CHART_GREY = 9 };

typedef struct chart_lines {
    const char *title, *x_label;
    chart_unit unit;
    double x_lo, x_hi, y_lo, y_hi; /* the range to show; y is widened to whole ticks */
    const chart_series *series;
    size_t n_series;
    const chart_reference *references;
    size_t n_references;
} chart_lines;
void chart_draw_lines(text *t, const chart_lines *c);

/* One bar a row, its value written behind it; lo..hi is a whisker, NAN for none. */
typedef struct chart_bar {
    const char *label, *value;
    double x, lo, hi;
} chart_bar;
void chart_draw_bars(text *t, const char *title, const chart_bar *bars, size_t n);

/* A cell of a table: from the hollow mark to the full one, a whisker of +- spread about the full
 * one, a dotted stroke at chance (NAN: none), on an axis from lo to hi. */
void chart_draw_move(text *t, double lo, double hi, double from, double to, double spread,
                     double chance);

#endif
