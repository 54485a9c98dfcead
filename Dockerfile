# Small, not root, with the versions of requirements.lock and nothing for development.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md ./
COPY consumer consumer
COPY producers producers
COPY otel otel
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --constraint requirements.lock .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home regions
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 REGIONS_HTTP=0.0.0.0:8080
USER regions
EXPOSE 8080
CMD ["regions", "consume"]
