/* Interpreter lines (script.h): execve(2), "Interpreter scripts". */
#include "script.h"

#include <string.h>

static char *skip_blank(char *at)
{
	return at + strspn(at, " \t");
}

bool script_parse(char *head, size_t len, struct script *script)
{
	char *end, *at;

	head[len] = '\0';
	if (len < 3 || head[0] != '#' || head[1] != '!')
		return false;
	end = strchr(head, '\n');
	if (!end) /* A line that is cut off might name another program than it does. */
		end = len < SCRIPT_HEAD_BYTES ? head + strlen(head) : NULL;
	if (!end)
		return false;
	while (end > head + 2 && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	*end = '\0';
	at = skip_blank(head + 2);
	script->interpreter = at;
	at += strcspn(at, " \t");
	if (at == script->interpreter)
		return false;
	script->argument = NULL;
	if (*at != '\0') {
		*at = '\0';
		script->argument = skip_blank(at + 1);
	}
	return true;
}
