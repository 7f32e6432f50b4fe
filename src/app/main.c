/* main.c: the program `weir`. Everything is in cli.c and the cmd_*.c files. */
#include "app/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
