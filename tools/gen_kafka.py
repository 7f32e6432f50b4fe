#!/usr/bin/env python3
"""Makes the Kafka codec from src/door/kafka/messages.txt: gen_kafka.py messages.txt out.h out.c

The header holds one C struct for each message and each struct in it; the source holds tables that say where each field lies and
in which versions it travels. src/door/kafka/wire.c interprets the tables: one decoder and one encoder for everything, which is
small and is fuzzed once. The output depends on the input only."""
import re
import sys

SCALARS = {'i8': 'int8_t', 'i16': 'int16_t', 'i32': 'int32_t', 'i64': 'int64_t', 'f64': 'double', 'bool': 'bool', 'str': 'struct bytes',
           'bytes': 'struct bytes', 'records': 'struct bytes'}
KINDS = {'i8': 'WIRE_I8', 'i16': 'WIRE_I16', 'i32': 'WIRE_I32', 'i64': 'WIRE_I64', 'f64': 'WIRE_F64', 'bool': 'WIRE_BOOL', 'uuid': 'WIRE_UUID',
         'str': 'WIRE_STR', 'bytes': 'WIRE_BYTES', 'records': 'WIRE_RECORDS', 'struct': 'WIRE_STRUCT'}
NAMED = {'null': 0, 'true': 1, 'false': 0, 'I32MAX': 2**31 - 1, 'I32MIN': -2**31}
VERSION_MAX = 127


class Field:
    pass


class Struct:
    def __init__(self, name):
        self.name, self.fields = name, []


class Parser:
    """Recursive descent over one message direction."""

    def __init__(self, text, prefix, where):
        self.tokens = re.findall(r'[A-Za-z_]\w*|-?\d+|[:\[\]{}?@#=+-]|\S', text)
        self.at, self.prefix, self.where, self.structs = 0, prefix, where, []

    def fail(self, what):
        sys.exit(f'{self.where}: {what} near {" ".join(self.tokens[max(0, self.at - 6):self.at + 3])}')

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, wanted=None):
        token = self.peek()
        if token is None or (wanted is not None and token != wanted):
            self.fail(f'expected {wanted or "more"}')
        self.at += 1
        return token

    def versions(self):
        low = int(self.take())
        if self.peek() == '+':
            self.take()
            return low, VERSION_MAX
        if self.peek() is not None and re.fullmatch(r'-\d+', self.peek()):
            return low, -int(self.take())
        return low, low

    def type(self, field):
        if self.peek() == '[':
            self.take()
            field.is_array = True
            self.type(field)
            self.take(']')
            return
        name = self.take()
        if self.peek() == '{':
            self.take()
            field.kind, field.struct = 'struct', self.fields(self.prefix + '_' + snake(name), '}')
            self.take('}')
        elif name in KINDS:
            field.kind = name
        else:
            self.fail(f'unknown type {name}')

    def field(self):
        field = Field()
        field.name, field.is_array, field.struct = snake(self.take()), False, None
        field.low, field.high, field.null, field.tag, field.default = 0, VERSION_MAX, VERSION_MAX, -1, 0
        self.take(':')
        self.type(field)
        while self.peek() in ('?', '@', '#', '='):
            mark = self.take()
            if mark == '?':
                field.null = 0
                if self.peek() is not None and self.peek().isdigit():
                    field.null, _ = self.versions()
            elif mark == '@':
                field.low, field.high = self.versions()
            elif mark == '#':
                field.tag = int(self.take())
            else:
                token = self.take()
                field.default = NAMED[token] if token in NAMED else int(token)
                field.default_null = token == 'null'
        field.default_null = getattr(field, 'default_null', False)
        field.is_marked = field.kind == 'struct' and not field.is_array and field.null != VERSION_MAX
        field.is_array = field.is_array or field.is_marked
        return field

    def fields(self, name, end):
        struct = Struct(name)
        while self.peek() != end:
            struct.fields.append(self.field())
        self.structs.append(struct)
        if any(s.name == name for s in self.structs[:-1]):
            self.fail(f'struct {name} is there twice')
        return struct


def snake(name):
    return re.sub(r'(?<=[a-z0-9])(?=[A-Z])', '_', name).lower()


def read(path):
    """[(key, name, low, high, flexible, request structs, response structs)]"""
    messages, current = [], None
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        line = line.rstrip('\n')
        if line.startswith('### '):
            head = re.fullmatch(r'### (\d+) (\w+) v(\d+)-(\d+) flexible (\d+|never)', line)
            if not head:
                sys.exit(f'{path}:{number}: a head is "### KEY Name vMIN-MAX flexible FIRST"')
            flexible = VERSION_MAX if head[5] == 'never' else int(head[5])
            current = [int(head[1]), head[2], int(head[3]), int(head[4]), flexible, '', '', f'{path}:{number}']
            messages.append(current)
            part = None
        elif line.startswith('#') or not line.strip():
            continue
        elif current is None:
            sys.exit(f'{path}:{number}: fields before the first head')
        else:
            if line[:2] in ('Q ', 'R '):
                part = 5 if line[0] == 'Q' else 6
            elif line[0] != ' ' or part is None:
                sys.exit(f'{path}:{number}: fields start with Q or R')
            current[part] += line[1:] + '\n'
    done = []
    for key, name, low, high, flexible, request, response, where in sorted(messages):
        structs = []
        for text, suffix in ((request, 'request'), (response, 'response')):
            parser = Parser(text, f'kafka_{snake(name)}_{suffix}', where)
            parser.fields(parser.prefix, None)
            structs.append(parser.structs)
        done.append((key, name, low, high, flexible, structs[0], structs[1]))
    return done


def c_field(field):
    if field.kind == 'struct':
        inner = f'struct {field.struct.name}'
    elif field.kind == 'uuid':
        return f'    uint8_t {field.name}[16];'
    else:
        inner = SCALARS[field.kind]
    if field.is_array:
        return f'    struct {{\n        {inner} *at;\n        int32_t n;\n    }} {field.name};'
    return f'    {inner} {field.name};'


def write_header(messages, out):
    out.append('/* Generated by tools/gen_kafka.py from messages.txt. One struct for each message; arrays are {at, n}, n = -1 is null. */')
    out.append('#ifndef WEIR_DOOR_KAFKA_CODEC_H\n#define WEIR_DOOR_KAFKA_CODEC_H\n\n#include "door/kafka/wire.h"\n')
    out.append('enum kafka_api {')
    for key, name, *_ in messages:
        out.append(f'    KAFKA_{snake(name).upper()} = {key},')
    out.append('};\n')
    for message in messages:
        for struct in message[5] + message[6]:
            out.append(f'struct {struct.name} {{')
            out.extend(c_field(f) for f in struct.fields)
            out.append('};')
        out.append('')
    for message in messages:
        for struct in (message[5][-1], message[6][-1]):
            out.append(f'extern const struct wire_struct {struct.name}_wire;')
        for struct in message[5][:-1] + message[6][:-1]:
            out.append(f'extern const struct wire_struct {struct.name}_wire;')
    out.append('\n/* All messages by rising key. */')
    out.append(f'#define KAFKA_MESSAGE_COUNT {len(messages)}')
    out.append('extern const struct wire_message kafka_messages[KAFKA_MESSAGE_COUNT];\n\n#endif')


def c_row(struct, field):
    flags = ['WIRE_ARRAY'] if field.is_array else []
    flags += ['WIRE_MARKED'] if field.is_marked else []
    flags += ['WIRE_DEFAULT_NULL'] if field.default_null else []
    sub = f'&{field.struct.name}_wire' if field.struct else 'NULL'
    default = 'INT32_MIN' if field.default == -2**31 else str(field.default)
    return (f'    {{"{field.name}", {sub}, {default}, offsetof(struct {struct.name}, {field.name}), {KINDS[field.kind]}, '
            f'{" | ".join(flags) or "0"}, {field.low}, {field.high}, {field.null}, {field.tag}}},')


def write_source(messages, header, out):
    out.append('/* Generated by tools/gen_kafka.py from messages.txt. */')
    out.append(f'#include "door/kafka/{header}"\n')
    for message in messages:
        for struct in message[5] + message[6]:
            # Depth first: what a struct refers to is above it.
            if struct.fields:
                out.append(f'static const struct wire_field {struct.name}_fields[] = {{')
                out.extend(c_row(struct, f) for f in struct.fields)
                out.append('};')
            fields = f'{struct.name}_fields' if struct.fields else 'NULL'
            out.append(f'const struct wire_struct {struct.name}_wire = {{"{struct.name}", {fields}, {len(struct.fields)}, '
                       f'sizeof(struct {struct.name})}};')
        out.append('')
    out.append('const struct wire_message kafka_messages[KAFKA_MESSAGE_COUNT] = {')
    for key, name, low, high, flexible, request, response in messages:
        out.append(f'    {{"{name}", &{request[-1].name}_wire, &{response[-1].name}_wire, {key}, {low}, {high}, {flexible}}},')
    out.append('};')


def main():
    source, header, code = sys.argv[1:]
    messages = read(source)
    for path, write in ((header, write_header), (code, None)):
        out = []
        if write:
            write(messages, out)
        else:
            write_source(messages, re.sub(r'.*/', '', header), out)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(out) + '\n')


main()
