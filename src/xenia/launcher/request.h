/* What is asked for, as the guest's agent reads it: NAME=VALUE, a NUL behind each (agent/pairs.py). */

#pragma once

enum { MAX_CONFIG = 1 << 20, MOST_VARIABLES = 256 };

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct request {
    const char *guest;
    bool is_interactive; /* it has our standard input */
    size_t size;
    char bytes[MAX_CONFIG];
};

/* One pair, of parts; the last is NULL.  false: there is no room. */
__attribute__((sentinel)) static bool add(struct request *request, ...)
{
    va_list parts;
    bool fits = true;
    va_start(parts, request);
    for (const char *part; fits && (part = va_arg(parts, const char *)) != NULL;) {
        size_t length = strlen(part);
        fits = length < MAX_CONFIG - request->size; /* and a NUL */
        if (fits) {
            memcpy(request->bytes + request->size, part, length);
            request->size += length;
        }
    }
    va_end(parts);
    if (fits)
        request->bytes[request->size++] = '\0';
    return fits;
}

static bool is_either(const char *word, const char *shortly, const char *whole)
{
    return strcmp(word, shortly) == 0 || strcmp(word, whole) == 0;
}

/* Of two variables, with values or without. */
static bool is_same_name(const char *one, const char *other)
{
    size_t length = strcspn(one, "=");
    return length == strcspn(other, "=") && memcmp(one, other, length) == 0;
}

/* The environment: of several variables of one name the last. */
static bool add_variables(struct request *request, const char *const *variables, size_t count)
{
    bool has_path = false;
    for (size_t i = 0; i < count; i++)
        has_path |= is_same_name(variables[i], "PATH");
    if (!has_path && !add(request, "env=PATH=" SEARCH_PATH, NULL))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *one = variables[i], *value = strchr(one, '=') != NULL ? NULL : getenv(one);
        if (*one == '=' || (strchr(one, '=') == NULL && value == NULL))
            return false;
        bool is_last = true;
        for (size_t later = i + 1; later < count; later++)
            is_last &= !is_same_name(one, variables[later]);
        if (is_last && !add(request, "env=", one, value != NULL ? "=" : NULL, value, NULL))
            return false;
    }
    return true;
}

/* Letters, digits, `-` and `_`, but no number: that may be a domain, or a process. */
static bool is_plain_name(const char *guest)
{
    bool has_letter_or_digit = false, is_number = true;
    for (; *guest != '\0'; guest++) {
        bool is_letter = (*guest | 32) >= 'a' && (*guest | 32) <= 'z', is_digit = *guest >= '0' && *guest <= '9';
        if (!is_letter && !is_digit && *guest != '-' && *guest != '_')
            return false;
        has_letter_or_digit |= is_letter || is_digit;
        is_number &= is_digit;
    }
    return has_letter_or_digit && !is_number;
}

/* Whether the bytes mean here what they mean in the guest: UTF-8, as the interpreter takes C for, too. */
static bool is_utf8(const struct request *request)
{
    bool is_ascii = true;
    for (size_t i = 0; i < request->size; i++)
        is_ascii &= (unsigned char)request->bytes[i] < 0x80;
    const char *locale = "";
    for (int i = 0; i < 3 && (locale == NULL || *locale == '\0'); i++)
        locale = getenv((const char *[]){"LC_ALL", "LC_CTYPE", "LANG"}[i]);
    return is_ascii || locale == NULL || *locale == '\0' || is_either(locale, "C", "POSIX")
        || strcasestr(locale, "UTF-8") != NULL || strcasestr(locale, "UTF8") != NULL;
}

/* From what stands behind `xenia exec`.  false: it is not for us. */
static bool read_request(struct request *request, char **argument)
{
    const char *variables[MOST_VARIABLES], *user = "root", *folder = "/";
    size_t count = 0;
    while (*argument != NULL && **argument == '-') {
        const char *option = *argument++, *value = *argument;
        if (is_either(option, "-i", "--interactive")) {
            request->is_interactive = true;
            continue;
        }
        if (value == NULL || *value == '-')
            return false;
        argument++;
        if (is_either(option, "-e", "--env") && count < MOST_VARIABLES)
            variables[count++] = value;
        else if (is_either(option, "-w", "--workdir"))
            folder = value;
        else if (is_either(option, "-u", "--user"))
            user = value;
        else
            return false;
    }
    if (*argument == NULL || !is_plain_name(*argument))
        return false;
    request->guest = *argument++;
    if (*argument != NULL && strcmp(*argument, "--") == 0)
        argument++;
    bool is_whole = *argument != NULL && add(request, "mode=command", NULL) && add(request, "cwd=", folder, NULL)
        && add(request, "user=", user, NULL) && add_variables(request, variables, count);
    for (; is_whole && *argument != NULL; argument++)
        is_whole = add(request, "arg=", *argument, NULL);
    return is_whole && is_utf8(request);
}
