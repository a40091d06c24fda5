//! Masking, as a table: command lines that hold a secret and what must be left of them, and command lines that hold none.

use super::mask_argv;

/// Words are separated by blanks; `~` is a blank inside a word.
fn argv(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.replace('~', " ").into_bytes()).collect()
}

fn line(argv: &[Vec<u8>]) -> String {
    let words: Vec<String> = argv.iter().map(|word| String::from_utf8_lossy(word).replace(' ', "~")).collect();
    words.join(" ")
}

/// The secret is always `S3cr3t` (with variations where the form matters); `***` is what must stand there.
const SECRET: [&str; 112] = [
    // Long options, value next.
    "tool --password S3cr3t",
    "tool --password S3cr3t --verbose",
    "tool --passwd S3cr3t",
    "tool --passphrase S3cr3t",
    "tool --token S3cr3t",
    "tool --secret S3cr3t",
    "tool --api-key S3cr3t",
    "tool --apikey S3cr3t",
    "tool --api_key S3cr3t",
    "tool --access-token S3cr3t",
    "tool --auth-token S3cr3t",
    "tool --client-secret S3cr3t",
    "tool --secret-key S3cr3t",
    "tool --secret-access-key S3cr3t",
    "tool --private-key S3cr3t",
    "tool --db-password S3cr3t",
    "tool --admin-password S3cr3t",
    "tool --root-passwd S3cr3t",
    "tool --account-key S3cr3t",
    "tool --http-password S3cr3t http://h/",
    "tool --pass S3cr3t",
    "tool -password S3cr3t",
    "tool -token S3cr3t",
    "tool --Password S3cr3t",
    "tool --bearer S3cr3t",
    "tool --jwt S3cr3t",
    "tool --credentials S3cr3t",
    // Long options, value attached.
    "tool --password=S3cr3t",
    "tool --password=my~S3cr3t~phrase",
    "tool --token=S3cr3t",
    "tool --secret=S3cr3t",
    "tool --api-key=S3cr3t",
    "tool --clientSecret=S3cr3t",
    "tool --client_secret=S3cr3t",
    "tool -password=S3cr3t",
    "java -Dspring.datasource.password=S3cr3t -jar a.jar",
    "java -Djavax.net.ssl.keyStorePassword=S3cr3t",
    "wget --ftp-password=S3cr3t ftp://h/",
    "wget --proxy-password=S3cr3t http://h/",
    "tool --set-string auth.token=S3cr3t",
    "helm upgrade x --set postgresql.auth.password=S3cr3t",
    "ansible-playbook -e ansible_become_pass=S3cr3t",
    // One-letter options of known tools.
    "mysql -pS3cr3t db",
    "mysql -uroot -pS3cr3t",
    "/usr/bin/mysqldump -u root -pS3cr3t db",
    "sudo mysqladmin -pS3cr3t status",
    "mariadb -pS3cr3t",
    "mariadb-dump -pS3cr3t",
    "sshpass -p S3cr3t ssh host",
    "sshpass -pS3cr3t ssh -p 22 host",
    "redis-cli -a S3cr3t ping",
    "mongosh -u a -p S3cr3t",
    "ldapsearch -x -D cn=a -w S3cr3t",
    "ldapsearch -x -wS3cr3t",
    "smbclient //h/s -U user%S3cr3t",
    "rpcclient -Uuser%S3cr3t h",
    "7z a -pS3cr3t x.7z f",
    "zip -P S3cr3t x.zip f",
    "unzip -PS3cr3t x.zip",
    "docker login -u me -p S3cr3t reg",
    "podman login -pS3cr3t reg",
    "az login -u me -p S3cr3t",
    "sqlcmd -S h -U sa -P S3cr3t",
    "ipmitool -H h -U a -P S3cr3t chassis",
    "snmpwalk -v3 -A S3cr3t h",
    "snmpwalk -v2c -c S3cr3t h",
    "xfreerdp /u:me /p:S3cr3t /v:h",
    "aws configure set aws_secret_access_key S3cr3t",
    "gpg --batch --passphrase S3cr3t -d f",
    "nxc smb h -u a -p S3cr3t",
    // curl and friends.
    "curl -u user:S3cr3t https://h/",
    "curl --user user:S3cr3t https://h/",
    "curl -uuser:S3cr3t https://h/",
    "curl -su user:S3cr3t https://h/",
    "curl -U user:S3cr3t https://h/",
    "curl --proxy-user user:S3cr3t https://h/",
    "http -a user:S3cr3t h",
    "curl --oauth2-bearer S3cr3t h",
    // openssl
    "openssl rsa -in k -passin pass:S3cr3t",
    "openssl pkcs12 -export -passout pass:S3cr3t",
    "openssl enc -aes-256-cbc -pass pass:S3cr3t -in f",
    "openssl enc -aes-256-cbc -k S3cr3t",
    // Headers.
    "curl -H Authorization:~Bearer~S3cr3t https://h/",
    "curl -H Authorization:~Basic~S3cr3t https://h/",
    "curl -H authorization:~token~S3cr3t https://h/",
    "curl -HAuthorization:S3cr3t https://h/",
    "curl -H Proxy-Authorization:~Basic~S3cr3t https://h/",
    "curl -H X-Api-Key:~S3cr3t https://h/",
    "curl -H X-Auth-Token:~S3cr3t https://h/",
    "curl -H X-Vault-Token:~S3cr3t https://h/",
    "curl -H PRIVATE-TOKEN:~S3cr3t https://h/",
    "curl -H Cookie:~S3cr3t https://h/",
    // URLs.
    "git clone https://user:S3cr3t@h/r.git",
    "psql postgres://app:S3cr3t@db:5432/x",
    "tool amqp://u:S3cr3t@h//",
    "curl https://h/?token=S3cr3t",
    "curl https://h/?a=1&api_key=S3cr3t&b=2",
    "curl https://h/p?access_token=S3cr3t#x",
    "curl https://h/p?sig=S3cr3t&se=2026",
    // Environment assignments.
    "env AWS_SECRET_ACCESS_KEY=S3cr3t aws s3 ls",
    "env GITHUB_TOKEN=S3cr3t gh",
    "env PGPASSWORD=S3cr3t psql",
    "env MYSQL_PWD=S3cr3t mysql",
    "env SSHPASS=S3cr3t sshpass -e ssh h",
    "docker run -e POSTGRES_PASSWORD=S3cr3t postgres",
    "docker run --env=API_TOKEN=S3cr3t x",
    // Bodies and scripts.
    "curl -d {\"user\":\"u\",\"password\":\"S3cr3t\"} https://h/",
    "curl -d user=u&password=S3cr3t&x=1 https://h/",
    "sh -c mysql~-uroot~-pS3cr3t~db",
    "sh -c PGPASSWORD=S3cr3t~psql~-h~db",
    "bash -lc curl~-H~'Authorization:~Bearer~S3cr3t'~https://h/~|~sh",
    "sh -c tool~--password~\"S3cr3t\"~&&~ls",
];

/// The whole token is the secret.
const TOKENS: [&str; 6] = [
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "glpat-abcdefghij0123456789",
    "xoxb-1234567890-abcdefghij",
    "hvs.CAESIabcdefghijklmnopqrst",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc-DEF_123",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
];

const HARMLESS: [&str; 78] = [
    "ssh -p 22 host",
    "ssh -p 8080 host",
    "mkdir -p dir/sub",
    "cp -p a b",
    "docker run -p 80:80 nginx",
    "docker run -p 127.0.0.1:5432:5432 postgres",
    "podman ps -p x",
    "mysql -p",
    "mysql -u root -h db shop",
    "mysql -P 3306 db",
    "tool --password-file /run/secrets/x",
    "tool --password-file=/run/secrets/x",
    "tool --passwordfile-path /x",
    "tool --token-file /x",
    "tool --token-endpoint https://h/token",
    "tool --token-endpoint=https://h/token",
    "tool --token-url https://h/",
    "tool --token-type jwt-ish",
    "tool --token-ttl 3600",
    "tool --secret-name db",
    "tool --secret-id 5",
    "kubectl get secret db -o yaml",
    "kubectl create secret generic db",
    "docker secret ls",
    "vault token lookup",
    "tool --no-password x",
    "tool --no-token x",
    "psql --no-password -h db",
    "docker login --password-stdin reg",
    "tool --ask-password user",
    "tool --api-key-file /x",
    "tool --public-key /x.pub",
    "tool --key value",
    "tool --sort-key name",
    "sort -k 2 f",
    "ssh -i key.pem h",
    "ssh-keygen -t ed25519 -f k",
    "openssl rsa -in k -passin file:/x",
    "openssl rsa -in k -passin env:PASS",
    "openssl req -new -key k.pem",
    "curl -u user https://h/",
    "curl https://h/path?page=2&sort=key",
    "curl https://h:8443/a@b",
    "curl -H Accept:~text/html https://h/",
    "curl -H Content-Type:~application/json https://h/",
    "curl -d {\"name\":\"x\"} https://h/",
    "git clone git@github.com:a/b.git",
    "git clone https://github.com/a/b.git",
    "git clone ssh://git@h/r.git",
    "git commit -m fix~token~handling",
    "git log --author=me",
    "grep -r password /etc",
    "grep -i token f",
    "grep -p pattern f",
    "env PWD=/home/u ls",
    "env OLDPWD=/ ls",
    "env PATH=/usr/bin HOME=/root ls",
    "env LANG=C TOKENIZER=fast x",
    "env AWS_ACCESS_KEY_ID=AKIAEXAMPLE aws",
    "env SSH_AUTH_SOCK=/run/x ssh h",
    "env PASSWORD_FILE=/x y",
    "passwd root",
    "chpasswd -e",
    "pwd -P",
    "ps -p 1234 -o pid",
    "lsof -p 77",
    "rsync -p a b",
    "tar -xpf a.tar",
    "perl -pe s/a/b/",
    "nmap -p 1-1024 h",
    "scp -P 2222 a h:",
    "python3 -c print(1)",
    "sh -c ls~-la~|~wc~-l",
    "bash -c for~i~in~1~2;~do~echo~$i;~done",
    "java -Dfile.encoding=UTF-8 -jar x.jar",
    "systemctl restart passwordless-login.service",
    "apt-get install sshpass",
    "7z x archive.7z",
];

#[test]
fn every_secret_becomes_stars_and_nothing_else_changes() {
    let mut wrong = Vec::new();
    for secret in SECRET {
        let mut words = argv(secret);
        let redacted = mask_argv(&mut words);
        let masked = line(&words);
        if !redacted || masked != secret.replace("my~S3cr3t~phrase", "S3cr3t").replace("S3cr3t", "***") {
            wrong.push(format!("{secret} became {masked}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn tokens_of_known_form_are_masked_wherever_they_stand() {
    for token in TOKENS {
        let mut words = argv(&format!("tool x={token} {token}"));
        assert!(mask_argv(&mut words), "not masked: {token}");
        assert!(!line(&words).contains(token), "{token}");
    }
}

#[test]
fn a_private_key_in_an_argument_is_masked() {
    let mut words = vec![b"tool".to_vec(), b"-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----".to_vec()];
    assert!(mask_argv(&mut words));
    assert!(!String::from_utf8_lossy(&words[1]).contains("MIIabc"));
}

#[test]
fn harmless_command_lines_stay_as_they_are() {
    let mut wrong = Vec::new();
    for harmless in HARMLESS {
        let mut words = argv(harmless);
        if mask_argv(&mut words) || line(&words) != harmless {
            wrong.push(format!("{harmless} became {}", line(&words)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn masking_twice_changes_nothing_more() {
    for secret in SECRET {
        let mut words = argv(secret);
        mask_argv(&mut words);
        let once = words.clone();
        mask_argv(&mut words);
        assert_eq!(words, once, "{secret}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_masked_without_a_panic(words in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), 0..8)) {
        let mut words = words;
        mask_argv(&mut words);
    }
}
