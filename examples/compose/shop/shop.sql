-- The shop in MariaDB, once: what a shop has, and what dumps like to lose.
SET NAMES utf8mb4;
SET time_zone = '+00:00';

CREATE TABLE customers (
    id int UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    name varchar(80) NOT NULL,
    email varchar(120) CHARACTER SET ascii UNIQUE,
    born date,
    seen datetime(6),
    greeting text
) COMMENT = 'people; "quoted", it''s\\ünïcödé 🛒';
INSERT INTO customers (name, email, born, seen, greeting)
SELECT elt(1 + seq % 6, 'Zoë Müller', 'Íñigo O''Hara', '山田 太郎', 'Анна Каренина', 'عمر الخيام', 'Nguyễn Văn "Tí"'),
    if(seq % 7, concat('customer', seq, '@shop.example'), NULL),
    if(seq % 9, date '1930-01-01' + INTERVAL (seq * 13) % 30000 DAY, NULL),
    timestamp '2020-02-29 23:59:59.000001' + INTERVAL seq * 7919 SECOND,
    elt(1 + seq % 5, NULL, '', 'Hola 👋🏽, ¿qué tal? 👩‍👩‍👧', 'a\ttab, a\nbreak, a \\ and a \'', concat('NULL ', repeat('ß', seq % 200)))
FROM seq_1_to_5000;

CREATE TABLE products (
    id int UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    title varchar(100) NOT NULL,
    price decimal(12, 4) NOT NULL,
    weight double,
    shape enum('round', 'flat', 'odd') NOT NULL,
    picture mediumblob,
    details longtext CHECK (json_valid(details)),
    price_with_tax decimal(12, 2) AS (price * 1.21) STORED
);
INSERT INTO products (title, price, weight, shape, picture, details)
SELECT concat(elt(1 + seq % 4, 'Café ☕', 'Naïve jigsaw 🧩', 'Öl', 'Teapot'), ' no. ', seq),
    seq * 1.0001, if(seq % 6, 1 / seq, NULL), elt(1 + seq % 3, 'round', 'flat', 'odd'),
    -- Every byte there is, NUL and line breaks among them.
    if(seq % 10, concat(unhex('89504e470d0a1a0a00ff5c27225c30'), random_bytes(1024), repeat(random_bytes(1024), seq % 9)), NULL),
    json_object('n', seq, 'emoji', '🧪', 'nothing', NULL)
FROM seq_1_to_1000;

CREATE TABLE orders (
    id bigint UNSIGNED AUTO_INCREMENT PRIMARY KEY,
    customer int UNSIGNED NOT NULL,
    placed timestamp(3) NOT NULL DEFAULT current_timestamp(3),
    paid bit(1) NOT NULL DEFAULT b'0',
    remark varchar(200),
    FOREIGN KEY (customer) REFERENCES customers (id)
);
CREATE TABLE items (
    `order` bigint UNSIGNED NOT NULL,
    line smallint UNSIGNED NOT NULL,
    product int UNSIGNED NOT NULL,
    pieces smallint NOT NULL,
    price decimal(12, 4),
    PRIMARY KEY (`order`, line),
    FOREIGN KEY (`order`) REFERENCES orders (id) ON DELETE CASCADE,
    FOREIGN KEY (product) REFERENCES products (id)
);
CREATE TABLE stock (product int UNSIGNED PRIMARY KEY, pieces int NOT NULL DEFAULT 0);
CREATE TABLE `empty, as ``yet``` (nothing int);

DELIMITER //
CREATE TRIGGER items_take_stock AFTER INSERT ON items FOR EACH ROW
BEGIN
    INSERT INTO stock (product, pieces) VALUES (NEW.product, -NEW.pieces)
        ON DUPLICATE KEY UPDATE pieces = pieces - NEW.pieces;
END//
CREATE FUNCTION total_of(wanted bigint UNSIGNED) RETURNS decimal(20, 4) READS SQL DATA
    RETURN (SELECT sum(pieces * price) FROM items WHERE `order` = wanted)//
CREATE PROCEDURE place_order(IN who int UNSIGNED)
BEGIN
    -- A remark with a delimiter; and an emoji 🧾.
    INSERT INTO orders (customer, remark) VALUES (who, 'ordered by itself 🧾');
    INSERT INTO items SELECT last_insert_id(), 1, id, 1, price FROM products WHERE id = 1 + who % 1000;
END//
-- The shop's own traffic: it runs while the server's event scheduler is on.
CREATE EVENT customers_order ON SCHEDULE EVERY 1 SECOND COMMENT 'somebody buys something'
    DO CALL place_order(1 + floor(rand() * 5000))//
DELIMITER ;

INSERT INTO orders (customer, placed, paid, remark)
SELECT 1 + (seq * 31) % 5000, timestamp '2024-01-01 00:00:00' + INTERVAL seq * 1777 SECOND, seq % 3 = 0,
    if(seq % 4, NULL, concat('leave it at the door 🚪 ', seq))
FROM seq_1_to_20000;
INSERT INTO items
SELECT 1 + seq DIV 3, 1 + seq % 3, 1 + (seq * 7) % 1000, 1 + seq % 5, if(seq % 11, (seq % 997) / 8, NULL)
FROM seq_0_to_59999;

CREATE VIEW turnover AS
SELECT c.id, c.name AS `who; bought`, sum(i.pieces * i.price) AS spent
FROM customers c JOIN orders o ON o.customer = c.id JOIN items i ON i.`order` = o.id GROUP BY c.id, c.name;
