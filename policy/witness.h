/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Witnessing: this region remembers the last checkpoint of each other region's
 * log that it cosigned, and cosigns only what goes on from it (C2SP tlog-witness).
 * So no region can shorten or rewrite its log without another one refusing.
 *
 * What is remembered lies in one file a region, on disk before anything is
 * answered.  One thread only (the control loop), which is what makes comparing
 * and remembering one step; it blocks on the disk.
 */
#ifndef POLICY_WITNESS_H
#define POLICY_WITNESS_H

#include "policy/log_peers.h"
#include "policy/log_proof.h"

enum witness_result {
	WITNESS_COSIGNED,
	WITNESS_MALFORMED,    /* no such request at all */
	WITNESS_UNKNOWN,      /* no key of that region is known, or the log is not its own */
	WITNESS_UNSIGNED,     /* not by that key */
	WITNESS_CONFLICT,     /* another size is remembered; it is in the answer */
	WITNESS_ROLLBACK,     /* signed, and shorter than what was signed before; the size is in the answer */
	WITNESS_FORK,         /* signed, as long as what was signed before, and not the same */
	WITNESS_INCONSISTENT, /* signed, and not shown to go on from what was signed before */
	WITNESS_FAILED,       /* it could not be remembered */
	WITNESS_RESULT_COUNT
};
const char *witness_result_name(enum witness_result result);
/* The HTTP status tlog-witness has for it. */
int witness_result_status(enum witness_result result);

/* Pure: what is to be said to this request, given what is remembered (size 0 and the empty root: nothing). */
enum witness_result witness_judge(
	const struct add_checkpoint *request, const struct checkpoint *offered, const struct checkpoint *remembered);

struct witness;

/* `folder` is made when it is missing; takes the signer. */
MUST_CHECK enum status witness_create(const char *folder, struct note_signer *signer, struct log_peers *peers,
	struct witness **witness_out, struct strbuf *why);
void witness_destroy(struct witness *witness);
/* The key it signs with, as this region's log has it. */
const struct note_verifier *witness_key(const struct witness *witness);
/* The request of `region`, as its certificate says; answer gets the body of the HTTP answer. */
enum witness_result witness_add(struct witness *witness, const char *region, const char *body, size_t size,
	uint64_t now_s, struct strbuf *answer);

/* ---- the other side of it: what peers cosigned of this region's log ---- */

/* The log in the directory goes on from its checkpoint.cosigned, or there is none.  STATUS_INVALID with the reason:
 * the log was cut or replaced, and nothing more may be signed. */
MUST_CHECK enum status log_cosigned_check(
	const char *directory, const struct note_verifier *verifier, struct strbuf *why);

#endif
