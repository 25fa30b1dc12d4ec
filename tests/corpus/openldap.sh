# Every kind of entry, and of what cn=config holds (slapd.d's manual, slapd-config(5), slapd-mdb(5), slapo-*(5)).
# `add` takes entries below a base, `conf` changes of cn=config; a row of entries lies below ou=NAME.

# row values
add <<'END'
dn: cn=a,ou=values,BASE
objectClass: person
cn: a
cn;lang-de: Ä
sn: x
description: one
description:  two with a blank before
description:: b25lCnR3bw==
telephoneNumber: +1 23
seeAlso: cn=nobody,BASE
END

# row names
add <<'END'
dn:: Y249csOpIG5laWdlLG91PW5hbWVzLGRjPWV4YW1wbGUsZGM9b3Jn
objectClass: device
cn:: csOpIG5laWdl

dn: cn=a\2Cb\22 \3Dc+sn=x,ou=names,BASE
objectClass: person
cn: a,b" =c
sn: x

dn: cn=`id` $(id) 'q',ou=names,BASE
objectClass: device
cn: `id` $(id) 'q'
END

# row large
{ echo 'dn: cn=photo,ou=large,BASE'; echo 'objectClass: inetOrgPerson'; echo 'cn: photo'; echo 'sn: x'
  printf 'jpegPhoto:: '; head -c 300000 /dev/urandom | base64 -w 0; echo; } | add

# row many
for n in $(seq 2000); do printf 'dn: uid=u%s,ou=many,BASE\nobjectClass: account\nuid: u%s\n\n' $n $n; done | add

# row tree
add <<'END'
dn: ou=a,ou=tree,BASE
objectClass: organizationalUnit
ou: a

dn: ou=b,ou=a,ou=tree,BASE
objectClass: organizationalUnit
ou: b

dn: ou=c,ou=b,ou=a,ou=tree,BASE
objectClass: organizationalUnit
ou: c
END

# row referrals
add -M <<'END'
dn: ou=elsewhere,ou=referrals,BASE
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://other.example.org/ou=elsewhere

dn: cn=alias,ou=referrals,BASE
objectClass: alias
objectClass: extensibleObject
cn: alias
aliasedObjectName: BASE
END

# row passwords
add <<'END'
dn: uid=bob,ou=passwords,BASE
objectClass: account
objectClass: simpleSecurityObject
uid: bob
userPassword: {SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr
END

# row groups
add <<'END'
dn: cn=all,ou=groups,BASE
objectClass: groupOfNames
cn: all
member: cn=admin,BASE
member: cn=a,ou=values,BASE
END

# row schema
conf <<'END'
dn: cn=shop,cn=schema,cn=config
changetype: add
objectClass: olcSchemaConfig
cn: shop
olcAttributeTypes: ( 1.3.6.1.4.1.4203.666.1.1 NAME 'shopColour' DESC 'a colour' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
olcObjectClasses: ( 1.3.6.1.4.1.4203.666.1.2 NAME 'shopThing' SUP top AUXILIARY MAY shopColour )
END

# row own_classes
add <<'END'
dn: cn=thing,ou=own_classes,BASE
objectClass: device
objectClass: shopThing
cn: thing
shopColour: blue
END

# row access
conf <<'END'
dn: olcDatabase={1}mdb,cn=config
changetype: modify
add: olcAccess
olcAccess: {1}to dn.subtree="ou=passwords,BASE" by users read by * none
END

# row indexes
conf <<'END'
dn: olcDatabase={1}mdb,cn=config
changetype: modify
add: olcDbIndex
olcDbIndex: uid,cn eq,sub
END

# row overlays
conf <<'END'
dn: cn=module{0},cn=config
changetype: modify
add: olcModuleLoad
olcModuleLoad: unique
olcModuleLoad: memberof

dn: olcOverlay=unique,olcDatabase={1}mdb,cn=config
changetype: add
objectClass: olcOverlayConfig
objectClass: olcUniqueConfig
olcOverlay: unique
olcUniqueURI: ldap:///ou=many,BASE?uid?sub
END

# row settings
conf <<'END'
dn: cn=config
changetype: modify
replace: olcSizeLimit
olcSizeLimit: 7777
-
replace: olcIdleTimeout
olcIdleTimeout: 3600
END

# row second_database
mkdir -p /var/lib/ldap/second /var/lib/ldap/empty && chown openldap: /var/lib/ldap/second /var/lib/ldap/empty
conf <<'END'
dn: olcDatabase=mdb,cn=config
changetype: add
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: dc=second,dc=org
olcDbDirectory: /var/lib/ldap/second
olcRootDN: cn=admin,BASE

dn: olcDatabase=mdb,cn=config
changetype: add
objectClass: olcDatabaseConfig
objectClass: olcMdbConfig
olcDatabase: mdb
olcSuffix: dc=empty,dc=org
olcDbDirectory: /var/lib/ldap/empty
END
add <<'END'
dn: dc=second,dc=org
objectClass: domain
dc: second

dn: cn=x,dc=second,dc=org
objectClass: device
cn: x
END
