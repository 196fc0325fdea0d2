import sys
sys.path.insert(0, '/var/www/yourapplication')

from yourapplication import app as application
