"""The same with FastAPI.

Run ``uvicorn --factory fastapi_models:create_app --timeout-graceful-shutdown 1``.
"""

from fastapi import FastAPI
from starlette_models import lifespan


def create_app() -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def page() -> str:
        return "Welcome to the museum."

    return app
