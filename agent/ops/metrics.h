/* metrics.h - the object of `status --json` as Prometheus reads it (text exposition format 0.0.4,
 * https://prometheus.io/docs/instrumenting/exposition_formats/). What is unknown has no sample.
 * Thread: any. */
#ifndef OPS_METRICS_H
#define OPS_METRICS_H

#include <jansson.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Heap, zero-terminated. */
char *metrics_text(const json_t *status);

#endif
