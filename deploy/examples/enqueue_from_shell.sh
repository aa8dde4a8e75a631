#!/bin/sh
# Enqueue from a shell script: a clip of the day, made once a day however often cron runs this, and downloaded.
#
# Run it beside `rushes up`, with curl installed:
#
#     . .rushes/env
#     sh enqueue_from_shell.sh
#
# It prints:
#
#     job_01KCB4W8Q5V2N7R9T3X6Y0ZA1B
#     clip-of-the-day.mp4 is an MP4
set -eu

# The same key on the same day gives the same job: nothing is paid twice.
job=$(rushes submit --model kling-v3 --prompt "a lighthouse in the weather of today" --duration 5 \
  --idempotency-key "clip-of-$(date +%F)")
echo "$job"

# The exit code tells how it ended: 0 the clip is archived, 1 failed or canceled, 3 no answer, 4 the timeout passed.
rushes watch "$job" --timeout 600 >/dev/null

# The answer is a redirect to a presigned link. It is fetched without the key, which is for Rushes alone.
link=$(curl -sS -o /dev/null -w '%{redirect_url}' -H "Authorization: Bearer $RUSHES_API_KEY" \
  "$RUSHES_URL/v1/jobs/$job/content")
curl -sSf -o clip-of-the-day.mp4 "$link"

if head -c 12 clip-of-the-day.mp4 | grep -q ftyp; then
  echo "clip-of-the-day.mp4 is an MP4"
fi
