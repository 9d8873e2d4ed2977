#include "agent/cli/check_report.h"

#include <stdarg.h>
#include <stdio.h>

void check_report_init(struct check_report *report)
{
	*report = (struct check_report){.entries = json_array()};
}

void check_report_release(struct check_report *report)
{
	json_decref(report->entries);
	report->entries = NULL;
}

void check_add(struct check_report *report, enum finding finding, const char *what,
	       const char *remedy, const char *fmt, ...)
{
	static const char *const names[] = {"ok", "note", "bad"};
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	report->notes += finding == FINDING_NOTE;
	report->bad += finding == FINDING_BAD;
	json_t *entry = json_pack("{s:s, s:s, s:o}", "what", what, "finding", names[finding],
				  "text", control_text(text));
	if (remedy)
		json_object_set_new(entry, "remedy", control_text(remedy));
	json_array_append_new(report->entries, entry);
}
