/* Strings and printf: %s %c %d %u %x with l, -, width and 0. */
#include "kit.h"

void *memset(void *target, int value, u64 length)
{
    void *at = target;
    asm volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
    return target;
}

void *memcpy(void *target, const void *source, u64 length)
{
    void *at = target;
    asm volatile("rep movsb" : "+D"(at), "+S"(source), "+c"(length) : : "memory");
    return target;
}

int memcmp(const void *a, const void *b, u64 length)
{
    const u8 *p = a, *q = b;
    for (; length; length--, p++, q++)
        if (*p != *q)
            return *p - *q;
    return 0;
}

int strcmp(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return (u8)*a - (u8)*b;
}

u64 strlen(const char *text)
{
    u64 n = 0;
    while (text[n])
        n++;
    return n;
}

int starts_with(const char *text, const char *prefix)
{
    return !memcmp(text, prefix, strlen(prefix));
}

static void number(char **out, u64 value, unsigned base, int width, char fill, int negative)
{
    char digits[24];
    int n = 0;
    do
        digits[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    if (negative)
        digits[n++] = '-';
    for (; width > n; width--)
        *(*out)++ = fill;
    while (n)
        *(*out)++ = digits[--n];
}

void printf(const char *format, ...)
{
    char line[512], *out = line;
    __builtin_va_list args;
    __builtin_va_start(args, format);
    for (; *format && out < line + sizeof(line) - 64; format++) {
        if (*format != '%') {
            *out++ = *format;
            continue;
        }
        int left = 0, is_long = 0, width = 0;
        char fill = ' ';
        if (*++format == '-')
            left = 1, format++;
        if (*format == '0')
            fill = '0';
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + *format - '0';
        for (; *format == 'l'; format++)
            is_long = 1;
        char *begin = out;
        switch (*format) {
        case 's': {
            const char *text = __builtin_va_arg(args, const char *);
            u64 length = strlen(text);
            if (length > (u64)(line + sizeof(line) - 64 - out))
                length = line + sizeof(line) - 64 - out;
            if (!left)
                for (; (u64)width > length; width--)
                    *out++ = ' ';
            memcpy(out, text, length);
            out += length;
            break;
        }
        case 'c': *out++ = __builtin_va_arg(args, int); break;
        case 'd': {
            long value = is_long ? __builtin_va_arg(args, long) : __builtin_va_arg(args, int);
            number(&out, value < 0 ? -value : value, 10, left ? 0 : width, fill, value < 0);
            break;
        }
        case 'u': case 'x': {
            u64 value = is_long ? __builtin_va_arg(args, u64) : __builtin_va_arg(args, u32);
            number(&out, value, *format == 'u' ? 10 : 16, left ? 0 : width, fill, 0);
            break;
        }
        default: *out++ = *format;
        }
        if (left)
            while (out - begin < width)
                *out++ = ' ';
    }
    __builtin_va_end(args);
    console_write(line, out - line);
}
