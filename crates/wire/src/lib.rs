//! Messages between the processes of mod_wsgi.
