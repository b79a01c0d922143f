/* A library that exists only in the target. */
int answer(void);

int answer(void)
{
	return 42;
}
