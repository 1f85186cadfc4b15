FROM python:3.13-slim AS build
WORKDIR /app
COPY requirements.txt .
# All packages have wheels for Linux, so no stage needs a compiler.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --only-binary :all: -r requirements.txt
COPY . .
# The user of the result cannot write here, so Python could not cache the compiled modules.
RUN python -m compileall -q /app

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-log-init scoreboard \
    && install --directory --owner=scoreboard --mode=700 /app/instance
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PORT=5000
EXPOSE 5000
# As a number, so that Kubernetes can check that it is not root.
USER 10001
# Not /readyz: a restart does not help while the database is down, and disconnects the viewers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
# In exec form, so that the server is process 1 and receives SIGTERM.
CMD ["python", "wsgi.py"]
