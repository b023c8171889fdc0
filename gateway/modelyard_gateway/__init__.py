# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway: who may call which inference service, and which of them are awake.

The *gate*, an nginx, asks it about every request by ``auth_request`` and forwards what it allows. No payload passes
through here. :mod:`.app` has the contract between the two; everything but :mod:`.main` needs nothing but Python.
"""
