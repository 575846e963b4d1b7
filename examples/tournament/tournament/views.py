"""HTTP: a profile by its user's id, for admins only, and never without a trace in the audit."""

from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse

from tournament.audit import profile_viewed
from tournament.auth import RefusedError, read_token


def profile(request: HttpRequest, user_id: int) -> JsonResponse:
    """The profile of one user."""
    try:
        claims = read_token(request.headers.get("Authorization", "").removeprefix("Bearer "))
    except RefusedError as refused:
        return JsonResponse({"code": refused.reason}, status=401)
    granted = claims.role == "admin"
    profile_viewed(claims.user_id, user_id, granted)
    if not granted:
        return JsonResponse({"code": "ROLE_NOT_ALLOWED"}, status=403)
    user = User.objects.select_related("profile").filter(pk=user_id).first()
    if user is None:
        return JsonResponse({"code": "NOT_FOUND"}, status=404)
    return JsonResponse({"id": user.pk, "email": user.email, "display_name": user.profile.display_name})
