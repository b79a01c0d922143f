/* Names and places of paths that need no kernel: joins, directories' names, the first line of scripts. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "../dir_name.h"
#include "../place.h"
#include "../rules.h"
#include "../script.h"
#include "tap.h"

static void check_clean(const char *from, const char *to)
{
	char path[128];
	size_t len;

	snprintf(path, sizeof(path), "%s", from);
	len = dir_name_clean(path, strlen(path));
	ok(len == strlen(to) && strcmp(path, to) == 0, from);
}

static void check_parents(const char *from, const char *to)
{
	char path[128];
	size_t len;

	snprintf(path, sizeof(path), "%s", from);
	len = dir_name_drop_parents(path, strlen(path));
	ok(len == strlen(to) && strcmp(path, to) == 0, from);
}

static void test_names(void)
{
	check_clean("/a/b", "/a/b");
	check_clean("/a/./b/.", "/a/b");
	check_clean("//a///b/", "/a/b");
	check_clean("/.", "/");
	check_clean("/a/../b", "/a/../b");
	check_clean("/a/...", "/a/...");
	check_parents("/a/b/..", "/a");
	check_parents("/a/../..", "/");
	check_parents("/a/b/../c/./../d", "/a/d");
	check_parents("/a/..b", "/a/..b");
	ok(dir_name_has_parents("/a/../b") && dir_name_has_parents("/a/.."), "a path with parents has them");
	ok(!dir_name_has_parents("/a/..b/...") && !dir_name_has_parents("/"), "names that begin with dots are none");
}

/* The head lies at the end of its memory, so that a look beyond it is found. */
static bool parse(const char *text, struct script *script, char **head)
{
	size_t len = strlen(text);

	*head = malloc(len + 1);
	memcpy(*head, text, len);
	return script_parse(*head, len, script);
}

static void check_script(const char *text, const char *interpreter, const char *argument)
{
	struct script script = {0};
	char *head;
	bool is_script = parse(text, &script, &head);

	ok(is_script == (interpreter != NULL) &&
		   (!is_script || (strcmp(script.interpreter, interpreter) == 0 &&
				   (argument ? script.argument && strcmp(script.argument, argument) == 0
					     : !script.argument))),
	   interpreter ? interpreter : "no script");
	free(head);
}

static void test_scripts(void)
{
	char text[SCRIPT_HEAD_BYTES + 1];

	check_script("#!/bin/sh\n", "/bin/sh", NULL);
	check_script("#! /usr/bin/env  node --x y  \nrest", "/usr/bin/env", "node --x y");
	check_script("#!/bin/sh", "/bin/sh", NULL);
	check_script("#!\t/bin/sh \t-e\n", "/bin/sh", "-e");
	check_script("#!\n", NULL, NULL);
	check_script("#!   \n", NULL, NULL);
	check_script("\177ELF", NULL, NULL);
	check_script("#", NULL, NULL);
	check_script("", NULL, NULL);
	memset(text, 'x', sizeof(text));
	memcpy(text, "#!/", 3);
	text[SCRIPT_HEAD_BYTES] = '\0';
	check_script(text, NULL, NULL);
}

static struct rules *rules_of(const char *literal, uint8_t flags)
{
	uint8_t body[128];
	struct wire_writer w = {body, body + sizeof(body), 0};
	struct wire_reader r;

	wire_put_u16(&w, 1);
	wire_put_u8(&w, RULE_DIR);
	wire_put_u8(&w, VERDICT_REMOTE);
	wire_put_u8(&w, flags);
	wire_put_u8(&w, 0);
	wire_put_str(&w, literal, strlen(literal));
	r = (struct wire_reader){body, w.at, 0};
	return rules_parse(&r);
}

static enum place find(const char *text, struct place_path *path)
{
	path->len = strlen(text);
	memcpy(path->text, text, path->len + 1);
	return place_find(getpid(), AT_FDCWD, path, false);
}

static void test_places(void)
{
	struct rules *absolute = rules_of("/data", 0), *relative = rules_of("data", RULE_RELATIVE);
	struct place_path *path = malloc(sizeof(*path));
	char expected[PATH_MAX + 16], cwd[PATH_MAX];

	place_init(absolute);
	ok(find("/data/a", path) == PLACE_REMOTE && strcmp(path->text, "/data/a") == 0, "an absolute path is as it is");
	ok(find("/database", path) == PLACE_LOCAL, "a longer name is another folder");
	ok(find("data/a", path) == PLACE_LOCAL, "a relative path is local without a rule for it");
	place_init(relative);
	snprintf(expected, sizeof(expected), "%s/data/a", getcwd(cwd, sizeof(cwd)));
	ok(find("data/a", path) == PLACE_REMOTE && strcmp(path->text, expected) == 0,
	   "a relative path with a rule is joined to the working directory");
	ok(find("", path) == PLACE_LOCAL, "an empty path is for the kernel");
	free(path);
	rules_free(absolute);
	rules_free(relative);
}

int main(void)
{
	test_names();
	test_scripts();
	test_places();
	return tap_done();
}
