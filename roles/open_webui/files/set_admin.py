# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make Open WebUI's administrator, with the password that stands in a file; run before the server, once per change.

Open WebUI itself makes one from its environment where there are no users at all, and never looks at it again.
"""

import asyncio
import os
from pathlib import Path

from open_webui.models.auths import Auths
from open_webui.models.users import Users
from open_webui.utils.auth import get_password_hash, verify_password


async def set_admin(email: str, name: str, password: str) -> None:
    """Make the user an administrator with this password, whether there is one already or not."""
    user = await Users.get_user_by_email(email)
    if user is None:
        made = await Auths.insert_new_auth(email, await get_password_hash(password), name, role="admin")
        if made is None:
            raise SystemExit(f"Cannot make the administrator {email}: Open WebUI did not take it; see the lines above.")
        return
    if user.role != "admin":
        await Users.update_user_role_by_id(user.id, "admin")

    async def is_right(hashed: str) -> bool:
        return await verify_password(password, hashed)

    if await Auths.authenticate_user(email, is_right) is None:
        await Auths.update_user_password_by_id(user.id, await get_password_hash(password))


if __name__ == "__main__":
    asyncio.run(
        set_admin(
            os.environ["WEBUI_ADMIN_EMAIL"].lower(),
            os.environ["WEBUI_ADMIN_NAME"],
            Path("/run/secrets/admin_password").read_text(encoding="utf-8"),
        )
    )
