/* Names that a program may well use, and that exist inside of the library: linked beside libweir.a they must not meet. */
void map_init(void);
void buf_put(void);
void arena_init(void);
void map_init(void)
{
}
void buf_put(void)
{
}
void arena_init(void)
{
}
