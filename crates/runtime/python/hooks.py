"""What scripts that httpd's hooks ask find in their environ, beside text."""


def ssl_functions(is_https, variables):
    """`mod_ssl.is_https` and `mod_ssl.var_lookup` for one request."""

    def var_lookup(name):
        if not isinstance(name, str):
            raise TypeError(f"the name of a variable is a str, not {type(name).__name__}")
        return variables.get(name)

    return (lambda: is_https), var_lookup
