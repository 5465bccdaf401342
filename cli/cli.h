/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli: front door.  Every `homeward COMMAND` but `serve`.  Exit codes are those
 * of sysexits(3) where one fits; docs/OPERATIONS.md lists them.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,     /* no, or failed */
	EXIT_CODE_DIFFERENCE = 2, /* only with --exit-code */
	EXIT_CODE_USAGE = 64,
	EXIT_CODE_DATA = 65,
	EXIT_CODE_UNREACHABLE = 69,
	EXIT_CODE_BUG = 70,
	EXIT_CODE_TRY_AGAIN = 75,
	EXIT_CODE_NOT_PERMITTED = 77,
	EXIT_CODE_CONFIGURATION = 78
};

/* argv[0] is the command's name ("pki", "routes" …); runs it to its end. */
int cli_main(int argc, char **argv);

#endif
