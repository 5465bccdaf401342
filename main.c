/* SPDX-License-Identifier: Apache-2.0 */
/*
 * homeward: wiring only.  `homeward serve` builds the parts and fits them to each
 * other; every other command is cli's.
 */
#include "cli/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc - 1, argv + 1);
}
