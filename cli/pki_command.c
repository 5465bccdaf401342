/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward pki`: a lab's authority and region certificates.  Real deployments
 * bring certificates of their own; these are enough for a laptop, for tests and
 * for a first mesh, and `inspect` and its verdict serve for any.
 */
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/pki.h"

enum {
	OPTION_DIR = COMMAND_ID_FIRST,
	OPTION_TRUST_DOMAIN,
	OPTION_REGION,
	OPTION_APPLICATION,
	OPTION_DAYS,
	OPTION_DNS,
	OPTION_IP,
	OPTION_SERIAL,
	OPTION_CERT,
	DAYS_MAX = 36500
};

/* What the commands were asked for; each takes only the options that its table lists. */
struct asked {
	struct command_line line;
	const char *folder, *serial, *path;
	struct pki_request request;
	int64_t days;
};

static bool read_line(
	struct asked *asked, const struct command_usage *usage, int argc, char **argv, int arguments, int64_t days)
{
	struct command_line *line = &asked->line;
	struct pki_request *request = &asked->request;

	*asked = (struct asked){ .days = days };
	command_line_begin(line, usage, argc, argv);
	for (int id; (id = command_line_next(line)) != COMMAND_LINE_END;) {
		if (id == OPTION_DIR)
			asked->folder = line->value;
		else if (id == OPTION_TRUST_DOMAIN)
			request->trust_domain = line->value;
		else if (id == OPTION_SERIAL)
			asked->serial = line->value;
		else if (id == OPTION_CERT)
			asked->path = line->value;
		else if (id == OPTION_REGION)
			request->region = line->value;
		else if (id == OPTION_APPLICATION)
			request->application = line->value;
		else if (id == OPTION_DAYS)
			(void)command_line_number(line, 1, DAYS_MAX, &asked->days);
		else if (id == OPTION_DNS && request->dns_count < PKI_NAMES_MAX)
			request->dns[request->dns_count++] = line->value;
		else if (id == OPTION_IP && request->ip_count < PKI_NAMES_MAX)
			request->ip[request->ip_count++] = line->value;
		else
			command_line_wrong(line, "at most %d names and addresses of a kind", PKI_NAMES_MAX);
	}
	request->days = (int)asked->days;
	return command_line_expect(line, arguments, arguments);
}

static int finish(enum status status, struct strbuf *why)
{
	int exit_code = EXIT_CODE_OK;

	/* Most of what fails here is a file in the way or out of reach: plain "no". */
	if (status == STATUS_INVALID)
		exit_code = command_fail(EXIT_CODE_DATA, "%s", why->data);
	else if (status != STATUS_OK)
		exit_code = command_fail(EXIT_CODE_FAILED, "%s", why->length > 0 ? why->data : status_name(status));
	strbuf_release(why);
	return exit_code;
}

static int run_init(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_DIR, "dir", "DIR", "folder for the authority (made when missing)" },
		{ OPTION_TRUST_DOMAIN, "trust-domain", "NAME",
			"the environment, as \"lab.example\": regions of another are strangers" },
		{ OPTION_DAYS, "days", "N", "how long the authority lasts (3650)" },
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward pki init", "--dir DIR --trust-domain NAME",
		"Makes a certificate authority: ca.pem, ca.key (mode 0600), an empty crl.pem and index.json.\n"
		"Nothing that exists is written over.",
		options, "homeward pki init --dir pki --trust-domain lab.example\n" };
	struct strbuf why = STRBUF_INIT;
	struct asked asked;

	if (!read_line(&asked, &usage, argc, argv, 0, PKI_AUTHORITY_DAYS))
		return asked.line.exit_code;
	const char *folder = asked.folder, *trust_domain = asked.request.trust_domain;
	if (folder == NULL || trust_domain == NULL)
		return command_line_wrong(&asked.line, "--dir and --trust-domain are needed");
	enum status status = pki_folder_init(folder, trust_domain, asked.request.days, &why);
	if (status == STATUS_OK)
		printf("%s/ca.pem is the authority of %s; keep %s/ca.key to yourself\n", folder, trust_domain, folder);
	return finish(status, &why);
}

static int run_issue(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_DIR, "dir", "DIR", "the authority's folder" },
		{ OPTION_REGION, "region", "NAME", "the region it is for" },
		{ OPTION_APPLICATION, "application", "NAME", "or the local application or device" },
		{ OPTION_TRUST_DOMAIN, "trust-domain", "NAME", "refuse if the authority's is another" },
		{ OPTION_DAYS, "days", "N", "how long it lasts (90)" },
		{ OPTION_DNS, "dns", "NAME", "a DNS name as well; may be given again" },
		{ OPTION_IP, "ip", "ADDRESS", "an IP address as well; may be given again" },
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward pki issue",
		"--dir DIR --region NAME | --application NAME",
		"Issues a region's certificate: NAME.pem (leaf, then authority) and NAME.key (mode 0600).\n"
		"Its one URI, spiffe://TRUST-DOMAIN/region/NAME, is what peers know the region by.  An\n"
		"application's, with /application/NAME, is for its region's broker and nothing to peers.",
		options, "homeward pki issue --dir pki --region eu --dns eu.lab.example\n" };
	struct strbuf why = STRBUF_INIT;
	struct asked asked;

	if (!read_line(&asked, &usage, argc, argv, 0, PKI_REGION_DAYS))
		return asked.line.exit_code;
	const struct pki_request *request = &asked.request;
	const char *folder = asked.folder;
	if (folder == NULL || (request->region == NULL) == (request->application == NULL))
		return command_line_wrong(&asked.line, "--dir is needed, and --region or --application");
	enum status status = pki_folder_issue(folder, request, &why);
	if (status == STATUS_OK)
		printf("%s/%s.pem and %s/%s.key are %s %s's for %d days\n", folder, pki_name(request), folder,
			pki_name(request), request->application != NULL ? "application" : "region", pki_name(request),
			request->days);
	return finish(status, &why);
}

static int run_revoke(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_DIR, "dir", "DIR", "the authority's folder" },
		{ OPTION_SERIAL, "serial", "HEX", "serial number of the certificate" },
		{ OPTION_CERT, "cert", "FILE", "or the certificate itself" },
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward pki revoke", "--dir DIR --serial HEX | --cert FILE",
		"Puts a certificate on the revocation list, crl.pem.  Give every region the new list;\n"
		"daemons notice a changed file by themselves, or at `homeward reload`.",
		options, "homeward pki revoke --dir pki --cert pki/eu.pem\n" };
	struct strbuf why = STRBUF_INIT, read = STRBUF_INIT;
	enum status status = STATUS_OK;
	X509 *certificate = NULL;
	struct asked asked;

	if (!read_line(&asked, &usage, argc, argv, 0, 0))
		return asked.line.exit_code;
	const char *folder = asked.folder, *serial = asked.serial, *path = asked.path;
	if (folder == NULL || (serial == NULL) == (path == NULL))
		return command_line_wrong(&asked.line, "--dir is needed, and --serial or --cert");
	if (path != NULL) {
		status = pki_read_certificate(path, &certificate, &why);
		if (status == STATUS_OK) {
			pki_serial(certificate, &read);
			serial = read.data;
		}
	}
	if (status == STATUS_OK)
		status = certificate != NULL ? pki_folder_revoke_certificate(folder, certificate, &why)
					     : pki_folder_revoke(folder, serial, &why);
	if (status == STATUS_OK)
		printf("serial %s is revoked; give %s/crl.pem to every region\n", serial, folder);
	X509_free(certificate);
	strbuf_release(&read);
	return finish(status, &why);
}

static void add_row(struct output *output, const char *what, const char *value)
{
	output_row(output, (const char *const[]){ what, value });
}

static void add_name(struct output *output, const char *what, const X509_NAME *name)
{
	BIO *memory = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	struct strbuf text = STRBUF_INIT;

	if (memory != NULL && X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253) >= 0) {
		long size = BIO_get_mem_data(memory, &bytes);

		strbuf_add(&text, bytes, (size_t)size);
	}
	add_row(output, what, text.data);
	BIO_free(memory);
	strbuf_release(&text);
}

static void add_extension(struct output *output, const char *what, const X509 *certificate, int nid)
{
	int at = X509_get_ext_by_NID(certificate, nid, -1);
	BIO *memory = BIO_new(BIO_s_mem());
	char *bytes = NULL;
	struct strbuf text = STRBUF_INIT;

	if (memory != NULL && at >= 0 && X509V3_EXT_print(memory, X509_get_ext(certificate, at), 0, 0) == 1) {
		long size = BIO_get_mem_data(memory, &bytes);

		strbuf_add(&text, bytes, (size_t)size);
		strbuf_trim_end(&text, "\n");
		for (size_t i = 0; i < text.length; i++)
			if (text.data[i] == '\n')
				text.data[i] = ' ';
	}
	add_row(output, what, text.data);
	BIO_free(memory);
	strbuf_release(&text);
}

static int show_certificate(enum output_format format, X509 *certificate, X509 *authority, X509_CRL *crl)
{
	static const struct output_column columns[] = { { "what", OUTPUT_TEXT }, { "value", OUTPUT_TEXT } };
	struct output *output = output_create(stdout, format, columns, 2);
	struct strbuf text = STRBUF_INIT, why = STRBUF_INIT;
	char region[REGION_SIZE], trust_domain[PKI_TRUST_DOMAIN_SIZE];

	add_name(output, "subject", X509_get_subject_name(certificate));
	add_name(output, "issuer", X509_get_issuer_name(certificate));
	add_extension(output, "names", certificate, NID_subject_alt_name);
	pki_serial(certificate, &text);
	add_row(output, "serial", text.data);
	strbuf_reset(&text);
	pki_fingerprint(certificate, &text);
	add_row(output, "sha256", text.data);
	strbuf_reset(&text);
	pki_time(X509_get0_notBefore(certificate), &text);
	add_row(output, "not_before", text.data);
	strbuf_reset(&text);
	pki_time(X509_get0_notAfter(certificate), &text);
	add_row(output, "not_after", text.data);
	add_extension(output, "key_usage", certificate, NID_key_usage);
	add_extension(output, "extended_key_usage", certificate, NID_ext_key_usage);
	add_extension(output, "name_constraints", certificate, NID_name_constraints);
	strbuf_reset(&text);
	enum status status = pki_judge(certificate, authority, crl, region, trust_domain, &why);
	if (status == STATUS_OK)
		strbuf_addf(&text, "accepted as region %s of trust domain %s%s", region, trust_domain,
			authority == NULL ? ", if its authority is trusted (--dir looks)" : "");
	else
		strbuf_addf(&text, "refused: %.*s", (int)(why.length > 0 ? why.length - 1 : 0), why.data);
	for (size_t i = 0; i < text.length; i++)
		if (text.data[i] == '\n')
			text.data[i] = ';';
	add_row(output, "homeward", text.data);
	strbuf_release(&text);
	strbuf_release(&why);
	int exit_code = output_finish(output);
	return status == STATUS_OK ? exit_code : EXIT_CODE_FAILED;
}

static int run_inspect(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_DIR, "dir", "DIR", "check it against the authority and the CRL in this folder as well" },
		COMMAND_OPTION_OUTPUT,
		COMMAND_OPTION_END,
	};
	static const struct command_usage usage = { "homeward pki inspect", "FILE",
		"Shows a certificate and what homeward would say of a peer that presents it.\n"
		"Exit code 0: accepted; 1: refused.",
		options, "homeward pki inspect pki/eu.pem --dir pki\n" };
	struct strbuf why = STRBUF_INIT, path = STRBUF_INIT;
	X509 *certificate = NULL, *authority = NULL;
	X509_CRL *crl = NULL;
	int exit_code = EXIT_CODE_OK;
	struct asked asked;

	if (!read_line(&asked, &usage, argc, argv, 1, 0))
		return asked.line.exit_code;
	const char *folder = asked.folder;
	enum status status = pki_read_certificate(asked.line.arguments[0], &certificate, &why);
	if (status == STATUS_OK && folder != NULL) {
		strbuf_addf(&path, "%s/ca.pem", folder);
		status = pki_read_certificate(path.data, &authority, &why);
		strbuf_reset(&path);
		strbuf_addf(&path, "%s/crl.pem", folder);
		if (status == STATUS_OK)
			status = pki_read_crl(path.data, &crl, &why);
	}
	if (status == STATUS_OK)
		exit_code = show_certificate(asked.line.format, certificate, authority, crl);
	X509_free(certificate);
	X509_free(authority);
	X509_CRL_free(crl);
	strbuf_release(&path);
	int failed = finish(status, &why);
	return failed != EXIT_CODE_OK ? failed : exit_code;
}

int command_pki(int argc, char **argv)
{
	static const struct command_entry entries[] = {
		{ "init", run_init, "make an authority" },
		{ "issue", run_issue, "issue a region's or an application's certificate" },
		{ "inspect", run_inspect, "show a certificate and what homeward would say of it" },
		{ "revoke", run_revoke, "put a certificate on the revocation list" },
		{ NULL, NULL, NULL },
	};
	static const struct command_group group = { "homeward pki",
		"A lab's certificate authority and its regions' certificates, in one folder.", entries,
		"homeward pki init --dir pki --trust-domain lab.example\n"
		"homeward pki issue --dir pki --region eu\n" };

	return command_group_run(&group, argc, argv);
}
