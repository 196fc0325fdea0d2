from django.http import JsonResponse
from django.urls import re_path


def seen(request):
    return JsonResponse({
        "path": request.path,
        "user": request.META.get("REMOTE_USER"),
        "posted": request.POST.dict(),
        "group": request.META["mod_wsgi.process_group"],
    })


urlpatterns = [re_path("", seen)]
