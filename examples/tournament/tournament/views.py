"""HTTP: the second step of name resolution.

Telemetry holds ids alone. Whom an id stands for is asked here, by staff who may, for a reason, and never without a
trace in the audit.
"""

from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from tournament.audit import REASONS, user_looked_up
from tournament.auth import RefusedError, read_token
from tournament.models import Profile


@require_GET
@never_cache
def user(request: HttpRequest, user_id: int) -> JsonResponse:
    """Who is behind a ``user_id`` of a log line: ``GET /support/users/1007/?reason=ABUSE_REPORT``."""
    try:
        claims = read_token(request.headers.get("Authorization", "").removeprefix("Bearer "))
    except RefusedError as refused:
        return JsonResponse({"code": refused.reason}, status=401)
    reason = request.GET.get("reason", "")
    if reason not in REASONS:
        return JsonResponse({"code": "REASON_MISSING", "reasons": REASONS}, status=400)
    granted = may_resolve(claims.user_id)
    # Before the answer: where it cannot be written down, nothing is told.
    user_looked_up(claims.user_id, user_id, reason, granted)
    if not granted:
        return JsonResponse({"code": "NOT_PERMITTED"}, status=403)
    found = Profile.objects.select_related("user").filter(user_id=user_id).first()
    if found is None:
        return JsonResponse({"code": "NOT_FOUND"}, status=404)
    return JsonResponse({"id": user_id, "email": found.user.email, "display_name": found.display_name})


def may_resolve(user_id: int) -> bool:
    """Whether the database, not the token, says so at this moment: a right that was taken away is gone."""
    staff = User.objects.filter(pk=user_id, is_active=True, is_staff=True).first()
    return staff is not None and staff.has_perm("tournament.view_profile")
