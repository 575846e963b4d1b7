#!/bin/sh
# Writes alertmanager.yml with the receivers that have a secret, says who is called, and runs what it is given.
#
# A receiver without its address would fail at every alert, and Alertmanager reads no environment. What is wrong with a
# setting is said at the start, by its name and without its value: it may be a secret.
set -eu

secrets=/run/secrets
written=/alertmanager/alertmanager.yml
file=$(dirname "$0")/alertmanager.yml

say() {
    echo "alerts: $1" >&2
}

wrong() {
    say "$1"
    exit 2
}

# The text of a setting must have a form: setting, extended regular expression, what that is.
check() {
    eval "value=\${$1:-}"
    ! printf '%s\n' "$value" | grep -Evqx "$2" || wrong "$1 must be $3"
}

# The same for what is in a secret's file.
check_secret() {
    [ -r "$secrets/$1" ] || wrong "the file that $2 names cannot be read by user $(id -u): chmod 644 it"
    [ "$(grep -c . "$secrets/$1")" = 1 ] || wrong "the file that $2 names must have one line"
    grep . "$secrets/$1" | grep -Eqx "$3" || wrong "the file that $2 names must hold $4"
}

address='https?://[^[:space:]"<>|]+'
mailbox='[A-Za-z0-9._%+=-]+@[A-Za-z0-9.-]+'
# Empty, or without the slash that a path begins with.
link='(https?://[A-Za-z0-9._~:/?#@%+=-]*[A-Za-z0-9_=#-])?'
called=
changes=

# One of the receivers: name, secret, setting with its file, form of the secret, what that is.
receiver() {
    # A file that is there and cannot be read has a size, too. Docker makes a folder where it finds nothing.
    if [ -d "$secrets/$2" ]; then
        wrong "$3 must name a file"
    elif [ -s "$secrets/$2" ]; then
        check_secret "$2" "$3" "$4" "$5"
        called="$called, $1"
    else
        changes="$changes
/^ *# if $1\$/,/^ *# end\$/d"
    fi
}

receiver pagerduty alert_pagerduty_key ALERT_PAGERDUTY_KEY_FILE '[A-Za-z0-9]{32}' "an integration key of the Events API v2"
receiver slack alert_slack_url ALERT_SLACK_URL_FILE "$address" "the address of an incoming webhook"
receiver discord alert_discord_url ALERT_DISCORD_URL_FILE "$address" "the address of a webhook"
receiver email alert_email_password ALERT_EMAIL_PASSWORD_FILE '.+' "a password"
receiver webhook alert_webhook_url ALERT_WEBHOOK_URL_FILE "$address" "the address of a webhook"

case $called in
*email*)
    check ALERT_EMAIL_SERVER '[A-Za-z0-9.-]+:[0-9]+' "a mail server and its port: mail.example.org:587"
    check ALERT_EMAIL_USER '[A-Za-z0-9._%+=@-]+' "the name that goes with the password for ALERT_EMAIL_SERVER"
    check ALERT_EMAIL_TO "$mailbox(, *$mailbox)*" "one mail address, or several with commas between them"
    : "${ALERT_EMAIL_FROM:=$ALERT_EMAIL_USER}"
    check ALERT_EMAIL_FROM "$mailbox" "a mail address, if ALERT_EMAIL_USER is none"
    ;;
esac
check GRAFANA_URL "$link" "an http address that does not end in /, or empty"
check RUNBOOKS_URL "$link" "an http address that does not end in /, or empty"

# No form above has a character that sed takes for its own.
for name in ALERT_EMAIL_SERVER ALERT_EMAIL_USER ALERT_EMAIL_FROM ALERT_EMAIL_TO GRAFANA_URL RUNBOOKS_URL; do
    eval "value=\${$name:-}"
    changes="$changes
s|[\$]{$name}|$value|"
done
sed "$changes" "$file" > "$written"

if [ -n "$called" ]; then
    say "they go to ${called#, }"
else
    say "THEY CALL NOBODY: no ALERT_..._FILE of .env names a file with anything in it"
fi
exec "$@"
