/* cmd_sql.c: weir sql: a shell, -e TEXT or -f FILE, against a server (HTTP) or over a data directory opened here.
 *
 * Both backends speak in the same four events (columns, row, message, error); sql_print.c turns them into a table or
 * JSON lines. Over a directory nobody else can write, so every query ends at the end of its input, and flows created
 * here are run until they have caught up before the program ends. */
#include <histedit.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cli.h"
#include "app/http_client.h"
#include "app/lib_int.h"
#include "app/sql_print.h"
#include "base/limits.h"
#include "flow/sql/sql.h"
#include "sys/os.h"

struct sql_session {
    struct cli *cli;
    const char *url; /* NULL: embedded */
    weir *w;
    struct sql_print print;
};

/* ---- embedded ---- */

struct embedded_sink {
    struct sql_sink sink;
    struct sql_print *print;
};

static struct sql_print *print_of(struct sql_sink *sink)
{
    return CONTAINER_OF(sink, struct embedded_sink, sink)->print;
}

static void on_columns(struct sql_sink *sink, const struct sql_schema *schema)
{
    sql_print_schema(print_of(sink), schema);
}

static void on_row(struct sql_sink *sink, const struct sql_schema *schema, const struct sql_row *row)
{
    sql_print_row(print_of(sink), schema, row);
}

static void on_message(struct sql_sink *sink, const char *text)
{
    sql_print_message(print_of(sink), bytes_str(text));
}

static void on_done(struct sql_sink *sink, const struct sql_error *e, struct bytes rendered)
{
    struct sql_print_fault f;
    if (e == NULL) return;
    f = (struct sql_print_fault){
        bytes_str(err_name(e->err.code)), bytes_str(e->err.text), bytes_str(e->err.hint), rendered, 0, 0};
    if (e->position >= 0) {
        f.line = e->line;
        f.column = e->column;
    }
    sql_print_error(print_of(sink), &f);
}

static int run_embedded(struct sql_session *s, struct bytes text)
{
    struct embedded_sink sink = {{on_columns, on_row, on_message, on_done, NULL}, &s->print};
    s->print.failed = false;
    if (!weir_run_script(s->w, text, &sink.sink))
        sql_print_error(&s->print, &(struct sql_print_fault){BYTES_LIT("failed"), bytes_str(weir_errmsg(s->w)),
                                                             BYTES_NULL, BYTES_NULL, 0, 0});
    return s->print.failed ? EXIT_FAILED : EXIT_OK;
}

/* ---- server ---- */

static bool on_line(void *arg, struct bytes line)
{
    struct sql_session *s = arg;
    if (bytes_is_null(line))
        fflush(stdout);
    else
        sql_print_event(&s->print, line);
    return !s->print.write_failed;
}

static int run_server(struct sql_session *s, struct bytes text)
{
    struct err e = {0};
    int status;
    enum err_code rc;
    s->print.failed = false;
    rc = http_post(s->url, "/v1/sql?format=events", "text/plain; charset=utf-8", text, &status, on_line, s, &e);
    sql_print_end(&s->print);
    if (rc == ERR_CANCELLED) return EXIT_OK;
    if (rc == ERR_CLOSED && status == 0)
        err_hint(&e, "start one with `weir dev`, or name another with --server, or open a directory with --data");
    if (rc != ERR_NONE) return cli_fail(s->cli, &e);
    return s->print.failed ? EXIT_FAILED : EXIT_OK;
}

static int run_text(struct sql_session *s, struct bytes text)
{
    int rc;
    if (text.len > LIMIT_SQL_BYTES_MAX)
        return cli_usage_error(s->cli, "the SQL text is longer than %u bytes", LIMIT_SQL_BYTES_MAX);
    rc = s->w != NULL ? run_embedded(s, text) : run_server(s, text);
    sql_print_end(&s->print);
    fflush(stdout);
    return rc;
}

/* ---- files ---- */

static bool read_stdin(struct buf *text)
{
    char part[16384];
    size_t n;
    while ((n = fread(part, 1, sizeof part, stdin)) > 0 && text->len <= LIMIT_SQL_BYTES_MAX)
        buf_put(text, part, n);
    return !ferror(stdin);
}

/* One byte more than is taken, so that a longer text is seen to be longer. */
static bool read_file(const char *path, struct buf *text)
{
    struct fs *fs = os_fs();
    struct file *f;
    size_t n = 0;
    bool ok = fs->open(fs, path, FS_READ, &f, NULL) == ERR_NONE;
    if (!ok) return false;
    ok = buf_reserve(text, LIMIT_SQL_BYTES_MAX + 1) &&
         fs->pread(fs, f, text->ptr, LIMIT_SQL_BYTES_MAX + 1, 0, &n, NULL) == ERR_NONE;
    text->len = n;
    fs->close(fs, f);
    return ok;
}

static int run_file(struct sql_session *s, const char *path)
{
    struct buf text;
    int rc;
    buf_init(&text, 0);
    if (strcmp(path, "-") == 0 ? read_stdin(&text) : read_file(path, &text))
        rc = run_text(s, buf_bytes(&text));
    else
        rc = cli_usage_error(s->cli, "the file %s cannot be read", path);
    buf_deinit(&text);
    return rc;
}

/* ---- shell ---- */

static const char *prompt_text = "weir> ";

static char *on_prompt(EditLine *el)
{
    (void)el;
    return (char *)(uintptr_t)prompt_text;
}

static void shell_help(void)
{
    printf("A statement ends with ; and may take several lines.\n"
           "  .help            this\n"
           "  .read FILE       run the statements of a file\n"
           "  .mode table|json how rows are shown\n"
           "  .quit            leave (Ctrl-D does, too)\n"
           "SHOW STREAMS; SHOW FLOWS; SHOW TOPICS; DESCRIBE name; EXPLAIN SELECT ...; Ctrl-C stops a running query.\n");
}

/* False: leave. */
static bool shell_command(struct sql_session *s, char *line)
{
    line[strcspn(line, "\r\n")] = 0;
    if (strcmp(line, ".quit") == 0 || strcmp(line, ".exit") == 0) return false;
    if (strcmp(line, ".help") == 0)
        shell_help();
    else if (strcmp(line, ".mode json") == 0)
        s->print.json = true;
    else if (strcmp(line, ".mode table") == 0)
        s->print.json = false;
    else if (strncmp(line, ".read ", 6) == 0)
        (void)run_file(s, line + 6);
    else
        printf("there is no command %s; .help lists them\n", line);
    return true;
}

static void run_statements(struct sql_session *s, struct buf *text)
{
    for (;;) {
        bool blank;
        size_t n = sql_split(buf_bytes(text), &blank);
        if (n == 0) {
            if (blank) buf_clear(text);
            return;
        }
        (void)run_text(s, bytes_slice(buf_bytes(text), 0, n));
        memmove(text->ptr, text->ptr + n, text->len - n);
        text->len -= n;
    }
}

static int shell(struct sql_session *s)
{
    EditLine *el = el_init("weir", stdin, stdout, stderr);
    History *past = history_init();
    HistEvent ev;
    struct buf text;
    const char *line, *home = getenv("HOME");
    char path[1024];
    int n;

    if (el == NULL || past == NULL) return EXIT_FAILED;
    snprintf(path, sizeof path, "%s/.weir_history", home ? home : ".");
    history(past, &ev, H_SETSIZE, 1000);
    history(past, &ev, H_LOAD, path);
    el_set(el, EL_PROMPT, on_prompt);
    el_set(el, EL_EDITOR, "emacs");
    el_set(el, EL_SIGNAL, 1);
    el_set(el, EL_HIST, history, past);
    buf_init(&text, 0);
    printf("weir %s, %s. Statements end with ;  .help lists commands.\n", WEIR_VERSION, s->url ? s->url : "embedded");
    while ((line = el_gets(el, &n)) != NULL && n > 0) {
        if (text.len == 0 && line[0] == '.') {
            char *copy = strdup(line);
            bool stay = copy != NULL && shell_command(s, copy);
            free(copy);
            if (!stay) break;
            continue;
        }
        if (line[strspn(line, " \t\r\n")] != 0) history(past, &ev, H_ENTER, line);
        buf_put_str(&text, line);
        run_statements(s, &text);
        prompt_text = text.len > 0 ? "  ...> " : "weir> ";
    }
    printf("\n");
    history(past, &ev, H_SAVE, path);
    history_end(past);
    el_end(el);
    buf_deinit(&text);
    return EXIT_OK;
}

int cmd_sql(struct cli *cli)
{
    struct sql_session s = {.cli = cli, .url = cli_get(cli, "server")};
    struct weir_options o = {.size = sizeof o};
    const char *data = cli_get(cli, "data"), *text = cli_get(cli, "execute"), *file = cli_get(cli, "file");
    int rc;

    if (text != NULL && file != NULL) return cli_usage_error(cli, "-e and -f do not go together");
    sql_print_init(&s.print, cli_json(cli), isatty(1));
    if (data != NULL) {
        int status = weir_open(data, &o, &s.w);
        s.url = NULL;
        if (status != WEIR_OK) {
            struct err e = {0};
            (void)err_set(&e, status == WEIR_BUSY ? ERR_BUSY : ERR_IO, "%s", weir_errmsg(s.w));
            weir_close(s.w);
            return cli_fail(cli, &e);
        }
    }
    if (text != NULL)
        rc = run_text(&s, bytes_str(text));
    else if (file != NULL)
        rc = run_file(&s, file);
    else if (!isatty(0))
        rc = run_file(&s, "-");
    else
        rc = shell(&s);
    if (s.w != NULL && weir_run(s.w, -1) != WEIR_OK && rc == EXIT_OK) {
        fprintf(stderr, "weir: %s\n", weir_errmsg(s.w));
        rc = EXIT_FAILED;
    }
    weir_close(s.w);
    sql_print_deinit(&s.print);
    return rc;
}
