/* usage_json.h - wrong usage as an object, for those who asked for JSON. The option parser of the C
 * library says what is wrong on standard error and ends the program; here its words are caught. */
#ifndef CLI_USAGE_JSON_H
#define CLI_USAGE_JSON_H

/* Does nothing unless --json stands among the arguments. */
void usage_json_begin(int argc, char **argv);
/* The arguments are right: standard error is what it was. */
void usage_json_end(void);

#endif
