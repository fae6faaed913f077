/** What stands around every page: where one can go, who one is, and whether the server is there. */
import { ActionIcon, Alert, AppShell, Burger, Button, Group, Menu, Text, Tooltip, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { Activity, Anchor, Boxes, BrickWall, CircleUser, FolderKanban, FolderTree, HardDrive, KeyRound, KeySquare, Layers, LogOut, Moon, Plus, Server, Store, Sun, WifiOff } from 'lucide-react'
import type { LucideIcon } from 'lucide-react'
import { useEffect } from 'react'
import type { ReactNode } from 'react'
import { Link, useLocation } from 'wouter'
import type { Whoami } from '../api/types.ts'
import { useConnection } from '../live/connection.ts'

interface Place {
  readonly to: string
  readonly name: string
  readonly icon: LucideIcon
  readonly admin?: boolean
}

const PLACES: readonly { readonly group: string | null; readonly places: readonly Place[] }[] = [
  {
    group: null,
    places: [
      { to: '/', name: 'Instances', icon: Boxes },
      { to: '/ui/images', name: 'Images', icon: Layers },
      { to: '/ui/volumes', name: 'Volumes', icon: HardDrive },
      { to: '/ui/file-systems', name: 'File systems', icon: FolderTree },
      { to: '/ui/firewalls', name: 'Firewalls', icon: BrickWall },
      { to: '/ui/secrets', name: 'Secrets', icon: KeySquare },
      { to: '/ui/activity', name: 'Activity', icon: Activity },
    ],
  },
  {
    group: 'Capacity',
    places: [
      { to: '/ui/host', name: 'Host', icon: Server },
      { to: '/ui/market', name: 'Market', icon: Store },
    ],
  },
  {
    group: 'Access',
    places: [
      { to: '/ui/keys', name: 'Keys', icon: KeyRound },
      { to: '/ui/projects', name: 'Projects', icon: FolderKanban, admin: true },
    ],
  },
]

export function Shell({ me, onLeave, children }: { readonly me: Whoami; readonly onLeave: () => Promise<void>; readonly children: ReactNode }) {
  const [opened, { toggle, close }] = useDisclosure()
  const [location] = useLocation()
  useEffect(close, [location, close])
  const mayLaunch = me.scopes.includes('write')
  return (
    <AppShell header={{ height: 52 }} navbar={{ width: 216, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding={{ base: 'sm', sm: 'lg' }}>
      <a className="skip-link" href="#main">
        To the content
      </a>
      <AppShell.Header bg="var(--berth-panel)">
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label="Menu" />
            <Link href="/" aria-label="Berth: instances" style={{ display: 'flex', alignItems: 'center', gap: 8, color: 'inherit', textDecoration: 'none' }}>
              <Anchor size={19} color="var(--mantine-color-anchor)" aria-hidden />
              <Text fw={680} fz="1.02rem">
                Berth
              </Text>
            </Link>
          </Group>
          <Group gap={6} wrap="nowrap">
            {mayLaunch && (
              <Button component={Link} href="/ui/launch" leftSection={<Plus size={15} />}>
                Launch
              </Button>
            )}
            <SchemeToggle />
            <Menu position="bottom-end" shadow="md" width={230}>
              <Menu.Target>
                <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Account">
                  <CircleUser size={19} />
                </ActionIcon>
              </Menu.Target>
              <Menu.Dropdown>
                <Menu.Label>Project {me.projectName ?? me.projectId}</Menu.Label>
                <Menu.Label>May {me.scopes.join(', ')}</Menu.Label>
                <Menu.Divider />
                <Menu.Item leftSection={<LogOut size={15} />} onClick={() => void onLeave()}>
                  Sign out
                </Menu.Item>
              </Menu.Dropdown>
            </Menu>
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" bg="var(--berth-panel)" component="nav" aria-label="Pages">
        {PLACES.map(({ group, places }) => {
          const shown = places.filter(({ admin }) => admin !== true || me.scopes.includes('admin'))
          if (shown.length === 0) return null
          return (
            <div key={group ?? 'first'}>
              {group !== null && <div className="nav-group">{group}</div>}
              {shown.map(({ to, name, icon: Icon }) => (
                <Link key={to} href={to} className="nav-link" aria-current={isHere(to, location) ? 'page' : undefined}>
                  <Icon size={16} strokeWidth={1.9} aria-hidden />
                  {name}
                </Link>
              ))}
            </div>
          )
        })}
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1}>
        <ConnectionBanner />
        {children}
      </AppShell.Main>
    </AppShell>
  )
}

function isHere(to: string, location: string): boolean {
  return to === '/' ? location === '/' || location.startsWith('/ui/instances') : location.startsWith(to)
}

function SchemeToggle() {
  const { setColorScheme } = useMantineColorScheme()
  const scheme = useComputedColorScheme('light')
  const label = scheme === 'dark' ? 'Light' : 'Dark'
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label={`${label} colours`} onClick={() => setColorScheme(scheme === 'dark' ? 'light' : 'dark')}>
        {scheme === 'dark' ? <Sun size={18} /> : <Moon size={18} />}
      </ActionIcon>
    </Tooltip>
  )
}

function ConnectionBanner() {
  const connection = useConnection()
  if (connection !== 'down') return null
  return (
    <Alert color="orange" variant="light" mb="md" icon={<WifiOff size={17} />} title="The server does not answer" role="alert">
      What you see may be old. The dashboard connects again by itself as soon as the server is back; instances run on meanwhile.
    </Alert>
  )
}
