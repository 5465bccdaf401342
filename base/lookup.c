/* SPDX-License-Identifier: Apache-2.0 */
/* The little that questions and answers need done to them. */
#include "base/lookup.h"

#include <stdlib.h>

void lookup_answer_release(struct lookup_answer *answer)
{
	free(answer->record);
	answer->record = NULL;
	answer->record_length = 0;
}
