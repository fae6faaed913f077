/** Every migration in the order of its name. A migration that has been released is never changed. */
import type { Migration } from 'kysely/migration'
import { firstLight } from './0001-first-light.ts'
import { services } from './0002-services.ts'
import { sshKeys } from './0003-ssh-keys.ts'
import { audit } from './0004-audit.ts'
import { market } from './0005-market.ts'
import { fileSystems } from './0006-file-systems.ts'
import { snapshots } from './0007-snapshots.ts'
import { firstBoots } from './0008-first-boots.ts'
import { slots } from './0009-slots.ts'
import { health } from './0010-health.ts'
import { secrets } from './0011-secrets.ts'
import { sealedSecrets } from './0013-sealed-secrets.ts'
import { firstFiles } from './0014-first-files.ts'
import { registrySecrets } from './0015-registry-secrets.ts'

export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  '0001-first-light': firstLight,
  '0002-services': services,
  '0003-ssh-keys': sshKeys,
  '0004-audit': audit,
  '0005-market': market,
  '0006-file-systems': fileSystems,
  '0007-snapshots': snapshots,
  '0008-first-boots': firstBoots,
  '0009-slots': slots,
  '0010-health': health,
  '0011-secrets': secrets,
  '0013-sealed-secrets': sealedSecrets,
  '0014-first-files': firstFiles,
  '0015-registry-secrets': registrySecrets,
}
