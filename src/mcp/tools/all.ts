/** Every tool. */
import type { Tool } from '../tool.ts'
import { catalogueTools } from './catalogue.ts'
import { createInstance } from './create.ts'
import { execCommand } from './exec.ts'
import { fileTools } from './files.ts'
import { instanceTools } from './instances.ts'
import { lifecycleTools } from './lifecycle.ts'
import { marketTools } from './market.ts'
import { observeTools } from './observe.ts'
import { snapshotTools } from './snapshots.ts'

export const ALL_TOOLS: readonly Tool[] = [...catalogueTools, createInstance, execCommand, ...fileTools, ...instanceTools, ...lifecycleTools, ...marketTools, ...observeTools, ...snapshotTools]
