/* report_style.h -- the one style sheet of report.html: light, dark and paper; colours of Okabe and
 * Ito's palette, which the colour-blind tell apart, adjusted for contrast on each ground. */
#ifndef PLMM_SIM_REPORT_STYLE_H
#define PLMM_SIM_REPORT_STYLE_H

/* Lines, ended by NULL. */
extern const char *const report_style[];

#endif
